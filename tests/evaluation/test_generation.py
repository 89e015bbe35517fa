import dataclasses

import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from spectrum_matching.evaluation.generation import CUSTOMARY, FEW, evaluate_generation, few_images
from spectrum_matching.evaluation.reference import compute_reference
from spectrum_matching.metrics.images.catalogue import SCORES
from spectrum_matching.metrics.images.precision_recall import NEIGHBOURS
from spectrum_matching.nets.vision.extractors import Extracted, Extractor
from spectrum_matching.records.scores import EVALUATIONS, Sampling, protocol_differences


class Quarters(nn.Module):
    num_features = 12

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def sampling(**changes):
    return Sampling(
        **{
            "denoiser": "d",
            "denoiser_digest": "",
            "step": 1,
            "averaged": True,
            "autoencoder": "",
            "autoencoder_digest": "",
            "path": "linear",
            "prediction": "velocity",
            "sampler": "euler",
            "steps": 50,
            "evaluations": 50,
            "guidance": 1.0,
            "guidance_interval": (0.0, 1.0),
            "labels": "none",
            "n_images": 80,
            "seed": 0,
            "dtype": "float32",
            **changes,
        }
    )


@pytest.fixture
def reference(extractor, photographs):
    return compute_reference("photographs", [photographs(0, 100)], extractor)


def test_evaluate_generation_fid_equals_torchmetrics(reference, extractor, photographs):
    oracle = FrechetInceptionDistance(feature=Quarters()).set_dtype(torch.float64)
    oracle.update(photographs(0, 100).double(), real=True)
    oracle.update(photographs(1, 80).double(), real=False)
    found = evaluate_generation("a", photographs(1, 80).split(32), reference, extractor)
    assert found.value("fid") == pytest.approx(float(oracle.compute()), rel=1e-4)


def test_evaluate_generation_of_the_reference_and_of_damage(reference, extractor, photographs):
    real = photographs(0, 100)
    itself = evaluate_generation("itself", [real], reference, extractor)
    assert itself.value("fid") == pytest.approx(0, abs=1e-9)
    assert itself.value("precision") == itself.value("recall") == 1
    assert itself.value("swd") == itself.value("spectrum_error") == 0
    blurred = evaluate_generation("blurred", [nn.functional.avg_pool2d(real, 3, 1, 1)], reference, extractor)
    assert blurred.value("spectrum_error") > 3
    assert blurred.spectrum[-1].error < -6
    assert abs(blurred.spectrum[0].error) < 3
    constant = evaluate_generation("constant", [real[:1].repeat(100, 1, 1, 1)], reference, extractor)
    assert constant.value("recall") < 0.05
    assert constant.value("inception_score") == pytest.approx(1)
    assert constant.value("fid") > 100 * blurred.value("fid")


def test_evaluate_generation_ignores_order_and_batches(reference, extractor, photographs):
    images = photographs(1, 80)
    one = evaluate_generation("a", [images], reference, extractor)
    other = evaluate_generation("a", images.flip(0).split(9), reference, extractor)
    assert one.scores.keys() == other.scores.keys()
    for key, score in one.scores.items():
        # Patches are sampled by an image's number, so that another order samples other ones.
        assert score.value == pytest.approx(other.value(key), rel=0.2 if key.startswith("swd") else 1e-6)


def test_read_evaluations_returns_what_was_written(reference, extractor, photographs, tmp_path):
    found = evaluate_generation("a", [photographs(1, 80)], reference, extractor, sampling=sampling())
    assert found.scores.keys() <= set(SCORES)
    assert all(metric.key == key for key, metric in SCORES.items())
    (tmp_path / "scores.json").write_text(EVALUATIONS.to_json([found]))
    assert EVALUATIONS.read(tmp_path / "scores.json") == [found]
    assert found.protocol.extractor_digest == "0" * 16
    assert (found.protocol.n_images, found.protocol.n_reference, found.protocol.size) == (80, 100, 16)
    with_error = {key for key, score in found.scores.items() if score.standard_error}
    assert with_error == {"fid", "precision", "kid", "spectrum_error"}


def test_evaluate_generation_refuses_too_few_images(reference, extractor, photographs):
    found = evaluate_generation("a", [photographs(1, 10)], reference, extractor)
    fid = found.scores["fid"]
    assert fid.value is None
    assert "10 images cannot fill a covariance of 12 features" in fid.refused
    assert any("10 images are few" in line for line in found.warnings)
    assert any("a set of 100 images is small" in line for line in found.warnings)
    with pytest.raises(ValueError, match="a: at least 2 images are needed, got 0"):
        evaluate_generation("a", [], reference, extractor)


def test_evaluate_generation_refuses_a_reference_of_few_images(extractor, photographs):
    reference = compute_reference("few", [photographs(0, 12)], extractor)
    found = evaluate_generation("a", [photographs(1, 80)], reference, extractor)
    scores = found.scores
    assert scores["fid"].value is None
    assert scores["fid"].refused.startswith("reference: 12 images cannot fill a covariance of 12 features")
    assert scores["sfid"].value is not None


def test_evaluate_generation_records_device_and_dtype(photographs):
    reference = compute_reference("photographs", [photographs(0, 50)], None)
    found = evaluate_generation("a", [photographs(1, 50)], reference)
    assert (found.provenance.device, found.provenance.dtype) == ("cpu", "float32")
    half = Extractor("half", "", "", lambda x: Extracted(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1).half()))
    found = evaluate_generation("a", [photographs(1, 50)], reference, half)
    assert found.provenance.dtype == "float16"


def test_evaluate_generation_refuses_features_of_another_size(extractor, photographs, tmp_path):
    import numpy as np

    from spectrum_matching.evaluation.reference import open_reference

    np.savez(tmp_path / "fid.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    reference = open_reference(tmp_path / "fid.npz", extractor)
    with pytest.raises(ValueError, match=r"quarters gives 12 features, but reference .*fid.npz has 2048"):
        evaluate_generation("a", [photographs(1, 80)], reference, extractor)


def test_evaluate_generation_without_extractor(photographs):
    reference = compute_reference("photographs", [photographs(0, 50, 32)], None)
    found = evaluate_generation("a", [photographs(1, 50, 32)], reference)
    assert list(found.scores) == ["spectrum_error", "swd", "swd_scale_1", "swd_scale_2"]
    other = evaluate_generation("a", [photographs(1, 50)], reference)
    assert [s.value for s in other.scores.values()] == [None, None]
    assert "have 32 pixels a side, these 16" in other.scores["spectrum_error"].refused
    assert other.spectrum == ()


def test_protocol_differences_names_settings_not_subjects(reference, extractor, photographs):
    def evaluated(name, n=80, **changes):
        return evaluate_generation(name, [photographs(1, n)], reference, extractor, sampling=sampling(**changes))

    same = [evaluated("a"), evaluated("b", denoiser="other", denoiser_digest="f", seed=3, step=9)]
    assert protocol_differences(same) == []
    differing = [evaluated("a"), evaluated("b", n=60, steps=250, guidance=1.5)]
    assert protocol_differences(differing) == ["n images: a 80, b 60", "steps: a 50, b 250", "guidance: a 1.0, b 1.5"]


def test_few_images_warns_on_one_side_of_each_threshold():
    assert (FEW, CUSTOMARY) == (2_048, 10_000)  # as docs/evaluate.md says
    assert ["are few" in line for line in few_images(FEW - 1)] == [True]
    assert ["comparable at this number alone (" in line for line in few_images(FEW)] == [True]
    assert ["comparable at this number alone (" in line for line in few_images(CUSTOMARY - 1)] == [True]
    assert list(few_images(CUSTOMARY)) == []


@pytest.mark.parametrize("n", [FEW - 1, FEW])
def test_evaluate_generation_warns_of_a_small_reference(reference, extractor, photographs, n):
    sized = dataclasses.replace(reference, n_images=n)
    warnings = evaluate_generation("a", [photographs(1, 80)], sized, extractor).warnings
    assert any("is small: its own sampling error" in line for line in warnings) == (n < FEW)


@pytest.mark.parametrize("n", [NEIGHBOURS, NEIGHBOURS + 1])
def test_evaluate_generation_precision_needs_a_third_neighbour(reference, extractor, photographs, n):
    found = evaluate_generation("a", [photographs(1, n)], reference, extractor)
    for key in ("precision", "recall"):
        assert ("have no third neighbour" in found.scores[key].refused) == (n <= NEIGHBOURS)
