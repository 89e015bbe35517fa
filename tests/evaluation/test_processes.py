"""Two processes of a launch against one."""

import sys
from pathlib import Path

import pytest
import torch

from features_of_tests import quarters
from processes import run_in_two
from spectrum_matching.data.arrays import TensorImages
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.evaluation.accumulate import accumulate, reduce_over
from spectrum_matching.evaluation.reconstruction import evaluate_reconstruction
from spectrum_matching.evaluation.reference import tensors_of
from spectrum_matching.metrics.images.catalogue import SET_SCORES
from spectrum_matching.metrics.images.inception_score import INCEPTION_SCORE
from spectrum_matching.metrics.images.score import SetComparison
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.vision.extractors import Extracted, Extractor
from spectrum_matching.processes import open_accelerator

EXTRACTOR = Extractor("quarters", "", "", lambda x: Extracted(quarters(x), quarters(x)[:, ::2], quarters(x)[:, :5]))


def images(n):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(n)) * 2 - 1


def reduced(n, accelerator):
    """Statistics of n images, in batches of 4 of which each process has every other one."""
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    own = accumulate(
        fixed_batches(TensorImages(images(n)), 4, rank=rank, world=world), EXTRACTOR, SET_SCORES, n_kept=10
    )
    own.bad.append(f"bad{rank}: made up")
    whole = reduce_over(own, accelerator)
    return {
        **tensors_of(whole),
        "n": torch.tensor([whole.n_images, whole.size, whole.moments["features"].count, len(whole.bad)]),
        "inception": torch.tensor(INCEPTION_SCORE.compare(SetComparison(whole, whole))["inception_score"].value),
    }


def reconstructed(n, accelerator):
    """Scores of n images by key, with the upper end of their intervals."""
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    batches = fixed_batches(TensorImages(images(n)), 4, rank=rank, world=world)
    found = evaluate_reconstruction(
        "tiny", Autoencoder.from_preset("tiny"), batches, EXTRACTOR, accelerator=accelerator
    )
    return {key: torch.tensor([s.value, s.value + (s.half_width or 0.0)]) for key, s in found.scores.items()}


def process(out):
    accelerator = open_accelerator()
    found = {n: reduced(n, accelerator) for n in (23, 3)} | {"reconstructed": reconstructed(39, accelerator)}
    torch.save(found, out / f"{accelerator.process_index}.pt")
    side = 8 * accelerator.process_index + 8
    share = accumulate([images(2)[..., :side, :side]], None, SET_SCORES)
    with pytest.raises(ValueError, match="cannot merge statistics of 8 px and 16 px images"):
        reduce_over(share, accelerator)
    accelerator.end_training()  # a process that ends before the other would take its connections with it


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_reduce_over_two_processes_equals_one(tmp_path):
    run_in_two(__file__, tmp_path)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for key, values in found.pop("reconstructed").items():
            torch.testing.assert_close(values, reconstructed(39, None)[key], rtol=1e-6, atol=1e-6, msg=key)
        for n, two in found.items():
            one = reduced(n, None)
            assert two.keys() == one.keys()
            assert two.pop("n").tolist() == [n, 16, n, 2]
            for name, values in two.items():
                torch.testing.assert_close(values, one[name], rtol=1e-9, atol=1e-9, msg=f"{n} {name}")


if __name__ == "__main__":
    process(Path(sys.argv[1]))
