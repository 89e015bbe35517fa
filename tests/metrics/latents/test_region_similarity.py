import pytest
import torch

from latents_of_tests import distances
from spectrum_matching.metrics.latents.region_similarity import MASK_SHARE, REGION_SIMILARITY, srss
from spectrum_matching.metrics.latents.sweep import StandardisedBatch
from spectrum_matching.spectrum import unit_tokens


@pytest.mark.parametrize(("near", "far"), [(1, 6), (2, 5), (3, 4)])
def test_srss_matches_definition_over_all_pairs(near, far, generator):
    x, apart = torch.randn(4, 3, 9, 7, generator=generator, dtype=torch.float64), distances(9, 7)
    x = x.cumsum(-1).cumsum(-2)
    tokens = unit_tokens(x).flatten(2)
    masks = torch.rand(4, 9, 7, generator=generator) < torch.tensor([0.2, 0.5, 0.8, 1.0]).view(-1, 1, 1)
    expected = []
    for pairs, mask in zip(tokens.mT @ tokens, masks.flatten(1), strict=True):
        contrasts = []
        for anchor in mask.nonzero()[:, 0]:
            similar = pairs[anchor, mask & (apart[anchor] >= 1) & (apart[anchor] <= near)]
            remote = pairs[anchor, ~mask & (apart[anchor] >= far)]
            if len(similar) and len(remote):
                contrasts.append(similar.mean() - remote.mean())
        expected.append(torch.stack(contrasts).mean() if contrasts else torch.tensor(torch.nan, dtype=torch.float64))
    assert expected[-1].isnan()
    torch.testing.assert_close(srss(x, masks, near, far), torch.stack(expected), equal_nan=True)


def test_region_similarity_takes_masks_from_a_quarter_to_three_quarters(generator):
    x = torch.randn(4, 3, 12, 12, generator=generator, dtype=torch.float64)
    quarter = round(MASK_SHARE * 144)
    n_inside = torch.tensor([quarter - 1, quarter, 144 - quarter, 144 - quarter + 1])
    masks = (torch.arange(144) < n_inside[:, None]).view(4, 12, 12)
    rows, _ = REGION_SIMILARITY.collect(StandardisedBatch(x, x, torch.full((4,), -1), masks, None))
    assert rows["srss"].isfinite().tolist() == [False, True, True, False]
