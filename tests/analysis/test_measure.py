import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from devices import Device
from files_of_tests import write_pictures
from spectrum_matching.analysis import analyze, numbers
from spectrum_matching.analysis.options import AnalysisOptions
from spectrum_matching.data import open_images
from spectrum_matching.data.fingerprint import fingerprint
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.metrics.latents.affinity import affinity_gaps
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.vision.encoders import open_vision
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.seeding import spread


class Codec(nn.Module):
    """Latents are block means of the images, times a scale; decoding repeats them. noise: posterior deviation."""

    def __init__(self, factor: int = 1, scale: float = 1.0, noise: float = 0.0) -> None:
        super().__init__()
        self.factor, self.scale, self.noise = factor, scale, noise

    def encode(self, images):
        mean = nn.functional.avg_pool2d(images, self.factor) * self.scale
        if not self.noise:
            return mean
        return SimpleNamespace(mean=mean, logvar=torch.full_like(mean, 2 * math.log(self.noise)))

    def decode(self, latents):
        return nn.functional.interpolate(latents / self.scale, scale_factor=self.factor)


def mean_square(one, other):
    return (one - other).square().mean((1, 2, 3))


def colours(images):
    return torch.cat([images.mean((2, 3)), images.std((2, 3))], 1)


@pytest.fixture(scope="module")
def images(pictures):
    return open_images(str(pictures), 32, split="all")


@pytest.fixture(scope="module")
def identity(images):
    return analyze(Codec(), images, name="identity")


def test_analyze_identity_is_exact_aligned_and_unflattened(identity):
    found = numbers(identity)
    assert numbers(identity, "val/") == {f"val/{name}": value for name, value in found.items()}
    assert found["psnr"] == 100.0
    assert found["ssim"] == pytest.approx(1, abs=1e-6)
    curve = identity.decoding.lowpass
    assert [point.keep for point in curve] == [15, 7, 5, 3]
    for point in curve:
        assert point.decoded == point.aligned
        assert (point.decoded.value, point.gap.value) == (100.0, 0.0)
    removed = [point.removed.value for point in curve]
    assert removed[0] == 100.0
    assert removed == sorted(removed, reverse=True)
    match = identity.view("mean").match("scale_free")
    assert (match.best_delta, match.best_delta_interval) == (0.0, (0.0, 0.0))
    assert match.best_gap == pytest.approx(0, abs=1e-9)
    assert match.latent == pytest.approx(match.target(0.0))
    assert identity.view("mean").spectrum.power == pytest.approx(identity.image_on_latent_grid.power)


def test_analyze_identity_passes_decoder_tests(identity):
    transfer = identity.decoding.transfer
    n = len(transfer.frequencies)
    assert np.allclose(np.array(transfer.shares)[:, :n], np.eye(n), atol=1e-6)
    stds = [channel.std for channel in identity.view("mean").channels]
    assert transfer.gains == pytest.approx([np.mean(np.square(stds))] * n, rel=1e-3)
    assert {point.error.value for point in identity.equivariance} == {0.0}
    for point in identity.decoding.noise:
        # Images are clamped, which takes some of the noise away, so the response is that of the noise and PSNR no less.
        assert point.response.value == pytest.approx(np.mean(np.square(stds)), rel=0.05)
        loss = 20 * math.log10(2) - 20 * math.log10(point.strength * math.sqrt(np.mean(np.square(stds))))
        assert loss - 0.2 < point.psnr.value < loss + 3


def test_analyze_measures_what_the_catalogue_lists(identity, images):
    everything = analyze(Codec(4, noise=0.5), images, options=AnalysisOptions(labels=True))
    measured = [item for a in (identity, everything) for v in a.views for item in v.measurements.items()]
    measured += [item for a in (identity, everything) for item in a.decoding.measurements.items()]
    assert {key for key, _ in measured} <= METRICS.keys()
    for key, m in measured:
        assert (m.value is None) == bool(m.refused), key
        assert m.value is None or math.isfinite(m.value), key


def test_analyze_gives_the_same_numbers_on_a_device_without_float64(images):
    def measure(device):
        encoder = open_vision("gradients:4", device)
        options = AnalysisOptions(perceptual=mean_square, features=colours, encoder=encoder, all_readings=True)
        return analyze(Autoencoder.from_preset("tiny"), images, n_tests=3, options=options, device=device)

    with Device() as device:
        there = measure("mps")
    assert device.n > 1000
    assert there.provenance.device == "mps"
    assert numbers(there) == numbers(measure("cpu"))


def test_analyze_refuses_with_a_reason(identity):
    # 12 images of 3 channels cannot fill the covariance of 32 × 32 positions.
    assert "positions" in identity.measurement("viv").refused
    assert identity.measurement("viv").value is None


@pytest.mark.slow
def test_analyze_scale_free_match_ignores_scale(images):
    one, hundred = (analyze(Codec(4, scale), images).view("mean") for scale in (1.0, 100.0))
    assert hundred.std == pytest.approx(100 * one.std, rel=1e-5)
    assert hundred.match("scale_free").best_delta == one.match("scale_free").best_delta
    assert hundred.match("paper").latent != pytest.approx(one.match("paper").latent, rel=0.01)


def test_block_dct_of_images_is_standardised_as_that_of_latents(images):
    dark = torch.stack([images[i].image for i in range(len(images))]) / 2 - 0.5
    found = analyze(Codec(4), dark, n_tests=2)  # latents are the images averaged onto the grid
    assert found.image_block_dct == pytest.approx(found.view("mean").block_dct, rel=1e-4)


def test_analyze_samples_have_posterior_noise(images):
    found = analyze(Codec(4, noise=0.5), images)
    mean, sample = found.view("mean"), found.view("sample")
    assert sample.std**2 - mean.std**2 == pytest.approx(0.25, rel=0.1)
    assert sample.spectrum.exponent.value < mean.spectrum.exponent.value
    own = np.mean([channel.std**2 for channel in mean.channels])
    assert found.measurement("posterior_noise").value == pytest.approx(0.25 / (0.25 + own), rel=1e-4)
    assert "noisy-posterior" in {finding.key for finding in found.findings}


@pytest.mark.slow
@pytest.mark.parametrize(("n", "said"), [(1, "1 image or its latents"), (3, "3 images or their latents")])
def test_analyze_leaves_constant_images_out_of_spectra(images, n, said):
    tensor = torch.stack([images[i].image for i in range(len(images))])
    flat = torch.cat([tensor, torch.full((n, 3, 32, 32), -0.25)])
    one, other = analyze(Codec(4), tensor), analyze(Codec(4), flat)
    assert other.view("mean").matches == one.view("mean").matches
    assert f"{said} are constant and are left out of the spectra." in other.notes


def test_analyze_seeds_random_encoders(images):
    class Drawing(Codec):
        def encode(self, images):
            return super().encode(images) + 0.1 * torch.randn(len(images), 3, *(n // 4 for n in images.shape[2:]))

    first, again = (numbers(analyze(Drawing(4), images, n_tests=2)) for _ in range(2))
    assert first == again


def test_analyze_refuses_one_test(images):
    with pytest.raises(ValueError, match="n_tests is 1"):
        analyze(Codec(4), images, n_tests=1)


@pytest.mark.parametrize(
    ("split", "remedy"), [("held_out", r"\(--split all\) or add images"), ("all", "two: add images")]
)
def test_analyze_refuses_one_image_and_names_the_remedy(images, split, remedy):
    with pytest.raises(ValueError, match=f"1 image of the split '{split}' was measured.*{remedy}"):
        analyze(Codec(4), images, n_images=1, n_tests=2, split=split)


def test_analyze_deterministic_encoder_has_no_samples(identity):
    assert [view.kind for view in identity.views] == ["mean"]
    assert not identity.subject.stochastic


@pytest.mark.slow
def test_analyze_batch_size_changes_rounding_alone(images):
    network = Autoencoder.from_preset("tiny")
    one, other = (
        replace(analyze(network, images, batch_size=size), pictures=(), latent_pictures=()) for size in (5, 12)
    )
    parsed = [json.loads(ANALYSES.to_json([analysis])) for analysis in (one, other)]
    assert flat(parsed[0]) == pytest.approx(flat(parsed[1]), rel=1e-4, abs=1e-6)


def flat(value) -> list[float]:
    if isinstance(value, dict | list):
        return [number for inner in (value.values() if isinstance(value, dict) else value) for number in flat(inner)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.slow
def test_analyze_takes_a_tensor_of_images(images):
    tensor = torch.stack([images[i].image for i in range(len(images))])
    one, other = (numbers(analyze(Codec(4), x)) for x in (images, tensor))
    assert one == other


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(4, 3, 32, 24), r"expected \(n, 3, size, size\), or of other channels: crop"),
        (torch.rand(4, 3, 32, 32), r"seem to lie in \[0, 1\]: give 2x - 1"),
        (torch.full((4, 3, 32, 32), 255.0), r"bytes by x / 127.5 - 1"),
        (torch.zeros(4, 3, 32, 32, dtype=torch.uint8), "finite floats"),
    ],
)
def test_analyze_refuses_tensors_that_are_not_images(tensor, message):
    with pytest.raises(ValueError, match=message):
        analyze(Codec(4), tensor)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_analyze_takes_images_of_as_many_channels_as_the_autoencoder(n):
    """Of a repeated channel, the numbers are those of its RGB images; wrappers are passed over."""
    grey = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    grey = nn.functional.interpolate(grey, (32, 32), mode="bilinear")
    found, plain = (analyze(nn.DataParallel(Codec(4)), grey.repeat(1, c, 1, 1), n_tests=2) for c in (n, 3))
    assert found.subject.kind == "Codec"
    assert found.subject.channels == n
    for key in ("psnr", "ssim", "exponent", "best_delta"):
        assert numbers(found)[key] == pytest.approx(numbers(plain)[key], rel=1e-4)
    assert {p.image for p in found.pictures} == {p.image for p in plain.pictures}


def test_analyze_names_other_channels_and_what_needs_rgb():
    grey = torch.rand(8, 1, 32, 32) * 2 - 1
    with pytest.raises(ValueError, match="mine encodes images of 3 channels, and these have 1"):
        analyze(Autoencoder(Codec(4)), grey, name="mine")
    options = AnalysisOptions(perceptual=nn.Identity())
    with pytest.raises(ValueError, match="images have 1 channels, and perceptual takes RGB alone: leave it out"):
        analyze(Codec(4), grey, options=options)


@pytest.mark.slow
def test_analyze_restores_training_mode_and_random_state(images):
    model = Autoencoder.from_preset("tiny").model
    model.train()
    model.encoder.eval()
    model.decoder.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    grads = {name: value.requires_grad for name, value in model.named_parameters()}
    state = torch.get_rng_state()
    analyze(model, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.encoder.training
    assert {name: value.requires_grad for name, value in model.named_parameters()} == grads
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.encode(torch.zeros(1, 3, 32, 32)).latent_dist.mean.sum().backward()


def test_analyze_notes_smaller_lowpass_blocks(pictures):
    found = analyze(Codec(4), open_images(str(pictures), 48, split="all"))
    assert found.decoding.lowpass_block == 4
    assert [point.keep for point in found.decoding.lowpass] == [7, 4, 3, 2]
    assert "blocks of 4: a 12 × 12 latent grid has no whole blocks of 8" in found.notes[0]


def test_analyze_notes_missing_lowpass_curve(pictures):
    found = analyze(Codec(4), open_images(str(pictures), 20, split="all"))
    assert found.decoding.lowpass == ()
    assert found.measurement("lowpass_gap").refused
    assert "No low-pass curve: a 5 × 5 latent grid" in found.notes[0]
    assert {picture.keep for picture in found.pictures} == {1}


def test_analyze_tests_images_past_bad_ones(tmp_path):
    folder = write_pictures(tmp_path / "pictures", 6)
    whole = analyze(Codec(4), open_images(str(folder), 32, split="all"), n_tests=3)
    assert whole.decoding.n_tests == 3
    broken = (folder / "000.png").read_bytes()
    (folder / "000_broken.png").write_bytes(broken[: len(broken) // 2])
    (folder / "notes.txt").write_text("no image")
    found = analyze(Codec(4), open_images(str(folder), 32, split="all"), n_tests=3)
    assert (found.sample.n_images, found.sample.coverage.n_total) == (6, 6)
    assert [line.split(":")[0] for line in sorted(found.sample.bad_files)] == ["000_broken.png"]
    assert found.decoding.lowpass == whole.decoding.lowpass
    assert found.equivariance == whole.equivariance


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
    """Class folders of 40 smooth images and of 40 of noise, which block means lose."""
    folder, generator = tmp_path_factory.mktemp("data") / "classes", np.random.default_rng(0)
    for name, cell in (("a_smooth", 11), ("b_noise", 1)):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            cells = generator.integers(0, 256, (-(-32 // cell),) * 2 + (3,), dtype=np.uint8)
            Image.fromarray(cells).resize((32, 32), Image.Resampling.BICUBIC).save(folder / name / f"{i:03d}.png")
    return open_images(str(folder), 32, split="all")


def test_analyze_of_some_images_stands_for_all_classes(two_classes):
    some, every = (analyze(Codec(4), two_classes, n_images=n, n_tests=n // 2) for n in (32, 80))
    assert str(some.sample.coverage) == "32 of 80 images, of 2 of 2 classes"
    assert str(every.sample.coverage) == "80 of 80 images, of 2 of 2 classes"
    for part, whole in (
        (some.measurement("psnr"), every.measurement("psnr")),
        (some.decoding.lowpass[1].removed, every.decoding.lowpass[1].removed),
        (some.decoding.noise[1].psnr, every.decoding.noise[1].psnr),
    ):
        assert abs(part.value - whole.value) < 3 * math.hypot(part.standard_error, whole.standard_error)
    assert some.sample.digest == fingerprint(two_classes, spread(80, 32)).digest != every.sample.digest
    assert every.sample.digest == two_classes.digest
    first = analyze(Codec(4), torch.stack([two_classes[i].image for i in range(32)]), n_tests=16)
    assert first.measurement("psnr").value - every.measurement("psnr").value > 3  # of the smooth class alone
    shown = {int(picture.image.split()[1]) > 40 for picture in some.pictures}
    assert shown == {False, True}


def test_analyze_pairs_latents_with_images_in_batches_with_bad_ones(tmp_path):
    folder = write_pictures(tmp_path / "pictures", 6)
    whole = analyze(Codec(4), open_images(str(folder), 32, split="all"), n_tests=4)
    broken = (folder / "000.png").read_bytes()
    (folder / "000_broken.png").write_bytes(broken[: len(broken) // 2])
    found = analyze(Codec(4), open_images(str(folder), 32, split="all"), n_tests=4, batch_size=3)
    assert found.decoding.n_tests == 4
    assert {key: m.value for key, m in found.decoding.measurements.items()} == pytest.approx(
        {key: m.value for key, m in whole.decoding.measurements.items()}, rel=1e-4
    )


def test_analyze_masks_follow_images_past_bad_ones(tmp_path):
    folder = write_pictures(tmp_path / "pictures", 4)
    masks = tmp_path / "masks"
    masks.mkdir()
    for i in range(4):
        mask = np.zeros((48, 48), dtype=np.uint8)
        mask[:, : 24 if i % 2 else 36] = 255
        Image.fromarray(mask).save(masks / f"{i:03d}.png")
    options = AnalysisOptions(masks=masks)
    whole = analyze(Codec(2), open_images(str(folder), 32, split="all"), options=options).measurement("srss")
    broken = (folder / "000.png").read_bytes()
    (folder / "000_broken.png").write_bytes(broken[: len(broken) // 2])
    assert whole.value is not None
    found = analyze(Codec(2), open_images(str(folder), 32, split="all"), options=options)
    assert found.measurement("srss") == whole
    assert "1 image has no mask (first: 000_broken.png)" in " ".join(found.notes)


def test_analyze_refuses_outputs_that_are_not_finite(images):
    codec = Autoencoder(Codec(4))
    codec.decode = lambda latents: torch.full((len(latents), 3, 32, 32), torch.nan)
    with pytest.raises(ValueError, match="broken: its pictures contain values that are not finite"):
        analyze(codec, images, name="broken")


def test_analyze_refuses_log_variances_that_are_not_finite(images):
    class OneImageBroken(Codec):
        def encode(self, images):
            mean = super().encode(images)
            logvar = torch.full_like(mean, -4.0)
            logvar[2:3, 1] = torch.nan  # a trial on two images does not see it
            return mean, logvar

    with pytest.raises(ValueError, match="broken: its log-variances contain values that are not finite"):
        analyze(OneImageBroken(4), images, name="broken")


def test_analyze_refuses_what_is_no_autoencoder_and_no_images(images):
    loader = DataLoader(images)
    with pytest.raises(ValueError, match=r"DataLoader has no encode\(\)"):
        analyze(loader, images)
    for autoencoder, given in ((Codec(), loader), (images, Codec())):
        with pytest.raises(ValueError, match=f"images are {type(given).__name__}; expected a tensor"):
            analyze(autoencoder, given)


def test_analyze_refuses_constant_latents(images):
    class Constant(Codec):
        def encode(self, images):
            return torch.ones_like(super().encode(images))

    codec = Constant(4)
    with pytest.raises(ValueError, match="dead: its latents do not vary"):
        analyze(codec, images, name="dead")


@pytest.mark.slow
def test_analyze_refuses_rfid_of_few_images(images):
    few = AnalysisOptions(features=lambda x: nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))
    many = AnalysisOptions(features=lambda x: x.flatten(1))
    assert analyze(Codec(), images, options=few).measurement("rfid").value == pytest.approx(0, abs=1e-9)
    assert (
        "12 images cannot fill a covariance of 3072"
        in analyze(Codec(), images, options=many).measurement("rfid").refused
    )


def test_analyze_measures_the_gap_to_an_encoder_and_names_it():
    images = nn.functional.interpolate(torch.rand(100, 3, 8, 8, generator=torch.Generator().manual_seed(0)), (32, 32))
    images = images * 2 - 1
    encoder = open_vision("gradients:16")
    analysis = analyze(Codec(4), images, n_tests=2, options=AnalysisOptions(encoder=encoder))
    latents = nn.functional.avg_pool2d(images, 4).double()
    means, stds = latents.mean((0, 2, 3), keepdim=True), latents.std((0, 2, 3), keepdim=True, correction=0)
    expected = affinity_gaps(lambda: [((latents - means) / stds, encoder(images).field)]).mean(0)
    found = [analysis.measurement(f"affinity_gap_{part}") for part in ("direction", "distance")]
    assert [number.value for number in found] == pytest.approx(expected.tolist(), rel=1e-4)
    assert float(analysis.measurement("affinity_gap")) == pytest.approx(float(expected.sum()), rel=1e-4)
    assert [note for note in analysis.notes if "gradients:16" in note and encoder.digest in note]
