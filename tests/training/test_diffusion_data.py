import shutil
from dataclasses import replace

import pytest
import torch

from spectrum_matching.cli.cache import cache_latents
from spectrum_matching.data.images import open_images
from spectrum_matching.data.order import PositionedBatches, fixed_batches
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.latents.shards import DOCUMENT
from spectrum_matching.latents.statistics import measure_latent_space
from spectrum_matching.nets.autoencoder import open_autoencoder
from spectrum_matching.spectrum import power_spectrum
from spectrum_matching.training.data_fingerprint import DataFingerprint
from spectrum_matching.training.diffusion_config import Source
from spectrum_matching.training.diffusion_data import DiffusionBatch, open_learned
from spectrum_matching.training.run_diffusion import warn_if_off_scale

CPU = torch.device("cpu")


def learned(run, source, **change):
    return open_learned(replace(run, source=source, **change), CPU)


def drawn(data, start=0, end=1, rank=0, world=1):
    return list(data.batches(rank, world, start, end))


def of_every_image(run, source, n=4):
    """Unit-scale data of every image, visited `n` times."""
    return torch.cat([batch.data for batch in drawn(learned(run, source, batch_size=16), end=n)])


@pytest.mark.parametrize("kind", ["cached", "encoded"])
def test_open_learned_brings_latents_to_unit_scale(small_diffusion, sources, kind, caplog):
    for statistics, axes in (("global", None), ("channel", (0, 2, 3))):
        data = of_every_image(small_diffusion, replace(sources[kind], statistics=statistics))
        std, mean = torch.std_mean(data, axes)
        torch.testing.assert_close(std, torch.ones_like(std), rtol=0.04, atol=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=0.05)
        list(warn_if_off_scale(iter([DiffusionBatch(data, torch.zeros(len(data)), ())])))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("kind", ["cached", "encoded"])
def test_open_learned_takes_declared_statistics_of_the_autoencoder(small_diffusion, sources, kind):
    run = replace(small_diffusion, batch_size=16)
    declared = learned(run, replace(sources[kind], statistics="declared"))
    assert declared.latent_space == LatentSpace("scale", (0.0,), (1 / 0.9,))
    own = learned(run, sources[kind])
    raw = own.latent_space.from_unit(drawn(own)[0].data)
    torch.testing.assert_close(drawn(declared)[0].data, 0.9 * raw)


def test_open_learned_agrees_between_cache_encoding_and_pixels(small_diffusion, sources, small_autoencoder):
    run = replace(small_diffusion, batch_size=16)
    pixels, encoded, cached = (
        learned(run, replace(sources[kind], sample=False)) for kind in ("pixels", "encoded", "cached")
    )
    assert [(it.shape, it.n, it.info.classes) for it in (pixels, encoded, cached)] == [
        ((3, 32, 32), 16, ("cat", "dog")),
        ((8, 8, 8), 16, ("cat", "dog")),
        ((8, 8, 8), 16, ("cat", "dog")),
    ]
    assert [it.is_pixels for it in (pixels, encoded, cached)] == [True, False, False]
    assert len({it.digest for it in (pixels, encoded, cached)}) == 3
    images, latents, stored = (drawn(it)[0] for it in (pixels, encoded, cached))
    order = next(iter(PositionedBatches(16, 16, run.seed)))
    found = open_images(run.source.images or sources["pixels"].images, 32, split="all")
    assert torch.equal(images.data, torch.stack([found[item].image for item, _ in order]))
    assert images.data.aminmax().min >= -1
    assert images.data.aminmax().max <= 1
    assert images.labels.tolist() == latents.labels.tolist() == stored.labels.tolist()
    with torch.no_grad():
        raw = open_autoencoder(str(small_autoencoder), CPU).encode(images.data).mean
    torch.testing.assert_close(encoded.latent_space.from_unit(latents.data), raw)
    torch.testing.assert_close(cached.latent_space.from_unit(stored.data), raw, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["cached", "encoded"])
def test_batches_sample_anew_by_epoch_and_rank_and_repeat(small_diffusion, sources, kind):
    run = replace(small_diffusion, batch_size=16)
    data = learned(run, sources[kind])
    first, second = drawn(data, end=2)  # two visits to all
    assert torch.equal(drawn(data, start=1, end=2)[0].data, second.data)
    orders = [[item for item, _ in keys] for keys in PositionedBatches(16, 16, run.seed, end=2)]
    again = [orders[1].index(item) for item in orders[0]]
    noise = first.data - second.data[again]
    assert (noise.abs().flatten(1).amax(1) > 0).all()
    means = drawn(learned(run, replace(sources[kind], sample=False)), end=2)
    torch.testing.assert_close(means[0].data, means[1].data[again])
    ranks = [drawn(data, rank=rank, world=2)[0] for rank in (0, 1)]
    assert torch.equal(torch.cat([r.labels for r in ranks]), first.labels)
    deviations = [(r.data - mean).flatten() for r, mean in zip(ranks, means[0].data.chunk(2), strict=True)]
    assert torch.corrcoef(torch.stack(deviations))[0, 1].abs() < 0.1


def test_open_learned_keeps_the_scale_a_run_was_started_at(small_diffusion, sources):
    began = LatentSpace("shift and scale", (0.5,), (3.0,))
    run = replace(small_diffusion, source=sources["encoded"])
    assert open_learned(run, CPU).latent_space != began
    assert open_learned(run, CPU, DataFingerprint({}, latent_space=began)).latent_space == began


@pytest.mark.parametrize("statistics", ["global", "centred", "channel"])
def test_open_learned_agrees_on_scale_between_cache_and_images(small_diffusion, sources, statistics):
    cached = learned(small_diffusion, replace(sources["cached"], statistics=statistics)).latent_space
    images = replace(sources["encoded"], statistics=statistics, flip=True, crop="random")
    encoded = learned(small_diffusion, images).latent_space
    assert encoded.convention == cached.convention
    assert encoded.mean == pytest.approx(cached.mean, rel=1e-5, abs=1e-6)
    assert encoded.std == pytest.approx(cached.std, rel=1e-5)
    assert (len(cached.mean) > 1, len(cached.std) > 1) == (statistics != "global", statistics == "channel")


@pytest.mark.parametrize("kind", ["cached", "encoded"])
def test_open_learned_centres_channels_at_one_scale(small_diffusion, sources, kind):
    data = of_every_image(small_diffusion, replace(sources[kind], statistics="centred"))
    torch.testing.assert_close(data.mean((0, 2, 3)), torch.zeros(data.shape[1]), rtol=0, atol=0.05)
    assert float(data.std()) == pytest.approx(1, rel=0.04)
    assert float(data.std((0, 2, 3)).max()) > 1.05  # not of each channel


def test_measure_latent_space_measures_all_classes(class_folder, small_autoencoder):
    images, autoencoder = open_images(str(class_folder), 32, split="all"), open_autoencoder(str(small_autoencoder), CPU)
    with torch.no_grad():
        posterior = autoencoder.encode(next(fixed_batches(images, 16)).images)
    whole = measure_latent_space(autoencoder, images, CPU)
    assert whole.mean == pytest.approx([float(posterior.mean.mean())], rel=1e-4)
    samples = torch.cat([posterior.sample(torch.Generator().manual_seed(i)) for i in range(64)])
    assert whole.std == pytest.approx([float(samples.std())], rel=0.01)
    variance = posterior.mean.double().var(correction=0) + posterior.logvar.double().exp().mean()
    assert whole.std == pytest.approx([float(variance.sqrt())], rel=1e-6)
    few = [measure_latent_space(autoencoder, images, CPU, seed=seed, n=8).mean for seed in range(4)]
    first_class = float(posterior.mean[:8].mean())
    assert all(abs(mean[0] - first_class) > 0.2 * abs(whole.mean[0] - first_class) for mean in few)


def test_measure_latent_space_refuses_constant_latents(class_folder, small_autoencoder):
    images, autoencoder = open_images(str(class_folder), 32, split="all"), open_autoencoder(str(small_autoencoder), CPU)
    autoencoder.model.quant_conv.weight.data.zero_()
    autoencoder.model.quant_conv.bias.data.fill_(-1e4)
    with pytest.raises(ValueError, match="do not vary"):
        measure_latent_space(autoencoder, images, CPU)


@pytest.mark.parametrize(("scale", "shift"), [(0.18, 0), (5.5, 0), (1, 2), (float("nan"), 0)])
def test_warn_if_off_scale_gives_mean_and_standard_deviation_once(scale, shift, caplog):
    data = torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for factor, offset in ((1, 0), (scale, shift)):
        batches = [DiffusionBatch(data * factor + offset, torch.zeros(16), ())] * 2
        assert list(warn_if_off_scale(iter(batches))) == batches
    (message,) = caplog.messages  # of the second, once
    assert "standard deviation" in message


@pytest.mark.parametrize(
    ("scale", "shift", "warns"),
    [(0.79, 0, True), (0.81, 0, False), (1.24, 0, False), (1.26, 0, True), (1, 0.49, False), (1, -0.51, True)],
)
def test_warn_if_off_scale_warns_on_one_side_of_each_threshold(scale, shift, warns, caplog):
    data = torch.tensor([-1.0, 1.0]).repeat(32).reshape(1, 1, 8, 8)  # of mean 0 and standard deviation 1
    list(warn_if_off_scale(iter([DiffusionBatch(data * scale + shift, torch.zeros(1), ())])))
    assert bool(caplog.messages) == warns


def test_batches_read_flips_from_the_cache_or_refuse_them(
    small_diffusion, sources, small_autoencoder, class_folder, latent_cache, tmp_path
):
    run = replace(small_diffusion, batch_size=16)
    source = replace(sources["cached"], flip=True, sample=False)
    data = learned(run, source)
    stored = open_latents(latent_cache)
    seen = set()
    for batch, keys in zip(drawn(data, end=8), PositionedBatches(16, 16, run.seed, end=8), strict=True):
        for row, (item, _) in zip(data.latent_space.from_unit(batch.data), keys, strict=True):
            distances = [float((row - stored.read_batch([(item, flip)]).mean[0]).abs().max()) for flip in (False, True)]
            assert min(distances) < 1e-4
            seen.add((item, distances[0] > distances[1]))
    assert len(seen) > 28  # nearly all images, both ways round
    bare = cache_latents(str(small_autoencoder), data=str(class_folder), split="all", size=32, out=tmp_path / "bare")
    with pytest.raises(ValueError, match="cache again with --flips"):
        learned(run, replace(source, latents=str(bare))).batches(0, 1, 0, 1)


@pytest.fixture
def three_channels(tmp_path):
    """The folder of an autoencoder whose latents have three channels."""
    from diffusers import AutoencoderKL

    AutoencoderKL(block_out_channels=(8,), norm_num_groups=8, latent_channels=3).save_pretrained(tmp_path / "three")
    return tmp_path / "three"


def test_open_learned_refuses_what_does_not_fit_together(small_diffusion, sources, three_channels, tmp_path):
    cached, encoded = sources["cached"], sources["encoded"]
    (tmp_path / "empty").mkdir()
    for source, said in (
        (Source(), "give source.latents, a folder that `specmatch cache` wrote, or else source.images"),
        (replace(cached, images=encoded.images), "are both given: leave one out"),
        (Source(latents=str(tmp_path / "none")), "no such folder"),
        (Source(latents=str(tmp_path / "empty")), "is empty"),
        (Source(latents=str(tmp_path)), "holds no cached latents"),
        (Source(images=str(tmp_path / "none")), "no such file or folder"),
        (replace(cached, autoencoder=str(three_channels)), "latents of 8 channels and .* decodes 3"),
        (replace(cached, autoencoder=str(tmp_path / "none")), "is not a folder"),
        (replace(encoded, autoencoder=str(tmp_path / "none")), "is not a folder"),
        (replace(encoded, size=30), "source.size is 30, and .* takes a multiple of 4"),
        (replace(encoded, held_out=1.0), "held_out is 1.0"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            learned(small_diffusion, source)
        assert "\n" not in str(caught.value)


def test_open_learned_encodes_in_float32_whatever_the_precision(small_diffusion, sources):
    plain = drawn(learned(small_diffusion, sources["encoded"]))[0].data
    for precision in ("bf16", "fp16"):
        assert drawn(learned(small_diffusion, sources["encoded"], precision=precision))[0].data.equal(plain)


def test_open_learned_refuses_labels_beyond_the_classes(small_diffusion, latent_cache, tmp_path):
    copy = shutil.copytree(latent_cache, tmp_path / "copy")
    index = DOCUMENT.read(copy / "index.json")
    DOCUMENT.write(copy / "index.json", replace(index, info=replace(index.info, classes=("cat",))))
    with pytest.raises(ValueError, match="has labels up to 1 and names 1 classes"):
        learned(small_diffusion, Source(latents=str(copy)))


@pytest.mark.parametrize("kind", ["cached", "encoded", "pixels"])
@pytest.mark.parametrize("choice", [{"flatten": 1.0}, {"flatten": 1.0, "gain_channels": "decorrelated"}])
def test_open_learned_gains_what_is_learned_and_undoes_it(small_diffusion, sources, kind, choice):
    plain, gained = (learned(small_diffusion, replace(sources[kind], **change)) for change in ({}, choice))
    assert gained.latent_space.std == plain.latent_space.std
    before, after = drawn(plain)[0].data, drawn(gained)[0].data
    raw = plain.latent_space.from_unit(before)
    torch.testing.assert_close(gained.latent_space.from_unit(after), raw, rtol=0, atol=1e-5 * float(raw.abs().max()))
    power = [float(power_spectrum(data)[..., -3:, -3:].mean() / data.square().mean()) for data in (before, after)]
    assert power[1] > 1.5 * power[0]
    assert float(of_every_image(small_diffusion, replace(sources[kind], **choice)).std()) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("kind", ["cached", "encoded"])
def test_open_learned_keeps_the_gain_a_run_was_started_with(small_diffusion, sources, kind):
    run = replace(small_diffusion, source=replace(sources[kind], flatten=1.0))
    own = open_learned(run, CPU).latent_space
    began = replace(own, gain=replace(own.gain, values=tuple((2 * a, 3 * b) for a, b in own.gain.values)))
    started_on = DataFingerprint({}, latent_space=began, gain=run.source.gain)
    assert open_learned(run, CPU, started_on).latent_space == began
    assert open_learned(small_diffusion, CPU, started_on).latent_space.gain is None
    other = replace(run, source=replace(run.source, flatten=0.5))
    assert open_learned(other, CPU, started_on).latent_space.gain.values != began.gain.values


def test_open_learned_takes_the_gain_of_the_cache_unless_the_run_has_its_own(small_diffusion, latent_cache, tmp_path):
    flattened = cache_latents(f"latents:{latent_cache}", out=tmp_path / "c", dtype="float32", flatten=1.0)
    cached, own, none = (
        learned(small_diffusion, replace(small_diffusion.source, latents=str(folder), **change)).latent_space
        for folder, change in ((flattened, {}), (latent_cache, {"flatten": 1.0}), (flattened, {"flatten": 0.0}))
    )
    assert cached == own
    assert cached.gain is not None
    assert none == learned(small_diffusion, replace(small_diffusion.source, latents=str(latent_cache))).latent_space
    again = cache_latents(f"latents:{flattened}", out=tmp_path / "d", dtype="float32")
    assert open_latents(again).info.gain == open_latents(flattened).info.gain
    with pytest.raises(ValueError, match="holds another cache: gain is flattened by 1, not flattened by 2"):
        cache_latents(f"latents:{latent_cache}", out=tmp_path / "c", dtype="float32", flatten=2.0)
