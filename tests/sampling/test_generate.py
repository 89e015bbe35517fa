from collections import Counter
from dataclasses import replace

import pytest
import torch

from spectrum_matching.diffusion import SAMPLERS
from spectrum_matching.latent_space import SpectralGain
from spectrum_matching.sampling.generate import (
    PROTOCOLS,
    SamplingChoice,
    check_sampling,
    generate_batch,
    labels_of,
    relative_to_cwd,
    sampling_record,
    times_of,
)
from spectrum_matching.sampling.model import open_model

CPU = torch.device("cpu")
CHOICE = SamplingChoice(steps=3, batch_size=4)


@pytest.fixture(scope="module")
def model(trained_diffusion):
    return open_model(trained_diffusion, CPU)


def images_of(model, indices=range(6), **change):
    choice = replace(CHOICE, **change)
    starts = range(0, len(indices), choice.batch_size)
    return torch.cat([generate_batch(model, choice, indices[i : i + choice.batch_size], CPU) for i in starts])


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_generate_batch_does_not_depend_on_the_batch(model, sampler):
    images = images_of(model, sampler=sampler)
    assert images.shape == (6, 3, 32, 32)
    assert images.abs().max() <= 1
    assert torch.equal(images, images_of(model, sampler=sampler))
    for batch_size in (1, 2, 6):
        again = images_of(model, sampler=sampler, batch_size=batch_size)
        torch.testing.assert_close(again, images, rtol=0, atol=1e-4)  # kernels round by the size of the batch
    torch.testing.assert_close(images_of(model, [5, 0, 3], sampler=sampler), images[[5, 0, 3]], rtol=0, atol=1e-4)
    others = [images_of(model, sampler=sampler, seed=1), images_of(model, range(6, 12), sampler=sampler)]
    assert all(((images - other).abs().flatten(1).mean(1) > 1e-3).all() for other in others)


def test_generate_batch_depends_on_labels_guidance_and_precision(model):
    images = images_of(model, labels="0")
    for change in ({"labels": "1"}, {"labels": "none"}, {"labels": "0", "guidance": 3.0}):
        assert ((images - images_of(model, **change)).abs().flatten(1).amax(1) > 1e-3).all()
    half = images_of(model, labels="0", precision="bf16")
    assert 0 < (half - images).abs().mean() < 0.05
    one, other = (images_of(model, labels="0", guidance=3.0, guidance_interval=i) for i in ((0.0, 0.1), (0.0, 1.0)))
    torch.testing.assert_close(one, images, rtol=0, atol=1e-5)  # no step asks in it
    assert (other - images).abs().max() > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"last_step": 0.04},
        {"end": 0.2},
        {"shift": 3.0},
        {"guidance_channels": 1},
        {"sampler": "heun", "guidance_by": "step"},
    ],
)
def test_generate_batch_follows_the_protocol(model, change):
    guided = {"labels": "0", "guidance": 3.0, "guidance_interval": (0.3, 0.8)}
    plain = {name: value for name, value in change.items() if name == "sampler"}
    assert (images_of(model, **guided, **change) - images_of(model, **guided, **plain)).abs().max() > 1e-3


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_sample_as_published(name, model):
    choice = PROTOCOLS[name]
    check_sampling(model, choice)
    record = sampling_record(model, choice, 4)
    times = times_of(model, choice)
    if name.startswith(("sit", "repa")):
        assert (len(times), float(times[-2])) == (251, 0.04)
        assert (choice.sampler, choice.steps) == ("euler_maruyama_mean", 250)
    n_guided = 0 if choice.guidance == 1 else record.evaluations - choice.steps
    assert n_guided == {"sit_guided": 250, "repa_guided": 172, "uvit_imagenet": 50}.get(name, n_guided)
    if name.startswith("lightningdit"):  # 250 times from noise to data, shifted by 0.3
        t = torch.linspace(0, 1, 250, dtype=torch.float64)
        torch.testing.assert_close(times, 1 - 0.3 * t / (1 + (0.3 - 1) * t))
        assert n_guided == ((1 - times[:-1]) >= (0.1 if name.endswith("64") else 0.125)).sum()
    if name == "uvit_imagenet":  # steps of 1,000, from the last to the first
        torch.testing.assert_close(times, torch.linspace(1, 0.001, 51, dtype=torch.float64))
        assert (choice.sampler, record.end) == ("dpm_solver_3", 0.001)


def with_counts(card, *counts):
    return replace(card, classes=tuple("abcd"[: len(counts)]), class_counts=counts)


def test_labels_of_balanced_are_equally_frequent(model):
    card = with_counts(model.card, 5, 1, 9)
    labels = labels_of(CHOICE, range(30), card)
    assert Counter(labels.tolist()) == {0: 10, 1: 10, 2: 10}
    assert torch.equal(labels_of(CHOICE, range(7, 11), card), labels[7:11])


def test_labels_of_random_are_uniform_and_depend_on_the_index(model):
    random, card = replace(CHOICE, labels="random"), with_counts(model.card, 5, 1, 9)
    labels = labels_of(random, range(3000), card)
    assert all(abs(count - 1000) < 4 * 26 for count in labels.bincount())
    assert torch.equal(labels_of(random, [2999, 5], card), labels[[2999, 5]])
    assert not torch.equal(labels_of(replace(random, seed=1), range(3000), card), labels)


@pytest.mark.parametrize("labels", ["balanced", "random"])
def test_labels_of_leaves_out_classes_that_were_not_learned(model, labels):
    choice = replace(CHOICE, labels=labels)
    drawn = labels_of(choice, range(200), with_counts(model.card, 0, 1, 0, 9))
    assert set(drawn.tolist()) == {1, 3}
    assert torch.equal(drawn // 2, labels_of(choice, range(200), with_counts(model.card, 1, 1)))
    assert labels_of(choice, range(4), with_counts(model.card, 0, 0)).tolist() == [-1] * 4


def test_labels_of_one_class_and_none(model):
    card = with_counts(model.card, 5, 1, 9)
    assert labels_of(replace(CHOICE, labels="2"), range(4), card).tolist() == [2] * 4
    assert labels_of(replace(CHOICE, labels="none"), range(4), card).tolist() == [-1] * 4
    none = with_counts(model.card)
    assert (
        labels_of(CHOICE, range(4), none).tolist()
        == labels_of(replace(CHOICE, labels="random"), [9], none).tolist() * 4
    )


@pytest.mark.parametrize(
    ("change", "counts", "message"),
    [
        ({"steps": 0}, (5, 5), "steps is 0: must be greater than 0"),
        ({"batch_size": 0}, (5, 5), "batch_size is 0: must be greater than 0"),
        ({"labels": "2"}, (5, 5), "'2', expected balanced, random or none, or a class from 0 to 1"),
        ({"labels": "-1"}, (5, 5), "a class from 0 to 1"),
        ({"labels": "cat"}, (5, 5), "'cat', expected balanced"),
        ({"labels": "1"}, (5, 0, 5), "labels is '1', and .* learned no image of class 'b': take balanced, random"),
        ({"labels": "0"}, (), "expected balanced, random or none: the model knows no classes"),
        ({"guidance": -1.0}, (5, 5), "guidance is -1.0: must be greater than or equal to 0"),
        ({"guidance": float("nan")}, (5, 5), "guidance is nan"),
        ({"guidance": 2.0}, (0, 0), "is unconditional: leave it at 1"),
        ({"guidance": 2.0}, (), "is unconditional: leave it at 1"),
        ({"guidance": 2.0, "labels": "none"}, (5, 5), "guidance needs labels"),
        ({"guidance_interval": (0.5, 0.2)}, (5, 5), "the guidance interval is 0.5 to 0.2"),
        (
            {"guidance_by": "step", "sampler": "dpm_solver"},
            (5, 5),
            "guidance_by is step, which dpm_solver does not have",
        ),
        ({"steps": 1, "last_step": 0.04}, (5, 5), "expected a last step"),
        ({"guidance_channels": -1}, (5, 5), "guidance_channels is -1"),
    ],
)
def test_check_sampling_reports_errors_in_one_line(model, change, counts, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_sampling(replace(model, card=with_counts(model.card, *counts)), replace(CHOICE, **change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"guidance": 4.0},
            "guidance is 4.0, but .*run learned no image without its class: train with objective.label_dr",
        ),
        ({"guidance": 0.0}, "guidance is 0.0, but"),
        ({"labels": "none"}, "labels is none, but"),
    ],
)
def test_check_sampling_refuses_what_was_learned_with_classes_alone(model, change, said):
    model = replace(model, card=replace(model.card, learned_none=False))
    check_sampling(model, CHOICE)
    with pytest.raises(ValueError, match=said):
        check_sampling(model, replace(CHOICE, **change))


@pytest.mark.parametrize(
    ("change", "calls"),
    [
        ({}, 3),
        ({"sampler": "heun"}, 5),
        ({"guidance": 2.0}, 6),
        ({"guidance": 2.0, "guidance_interval": (0.5, 0.7)}, 4),
        ({"guidance": 2.0, "guidance_interval": (0.5, 0.7), "sampler": "heun"}, 7),
        ({"guidance": 2.0, "guidance_interval": (0.5, 0.7), "sampler": "heun", "guidance_by": "step"}, 7),
        ({"guidance": 2.0, "guidance_interval": (0.9, 1.0), "sampler": "heun", "guidance_by": "step"}, 7),
    ],
)
def test_sampling_record_counts_network_evaluations(model, change, calls):
    seen = []
    hook = model.denoiser.register_forward_pre_hook(lambda net, inputs: seen.append(len(inputs[0])))
    images_of(model, range(4), **change)
    hook.remove()
    record = sampling_record(model, replace(CHOICE, **change), 4)
    assert sum(seen) / 4 == record.evaluations == calls


def test_sampling_record_tells_normalisations_and_gains_apart(model):
    space = model.card.latent_space
    gains = [SpectralGain(((1.0, high),), frequencies=(1 / 16, 0.7)) for high in (2.0, 3.0)]
    records = {}
    for each in (space, *(replace(space, gain=gain) for gain in gains)):
        changed = replace(model, card=replace(model.card, latent_space=each))
        records[each.gain] = sampling_record(changed, CHOICE, 4)
    assert {record.normalisation for record in records.values()} == {space.convention}
    assert records[None].gain == ""
    assert len({record.gain for record in records.values()}) == 3


def test_sampling_record_names_models_relative_to_cwd(
    model, trained_diffusion, small_autoencoder, monkeypatch, tmp_path
):
    monkeypatch.chdir(trained_diffusion.parent)
    record = sampling_record(model, CHOICE, 4)
    assert (record.denoiser, record.autoencoder) == ("run", str(small_autoencoder))
    assert (record.step, record.averaged, record.labels, record.n_images) == (3, False, "balanced", 4)
    other = open_model(trained_diffusion, CPU, str(small_autoencoder))
    assert sampling_record(other, CHOICE, 4).autoencoder_digest == record.autoencoder_digest != ""
    monkeypatch.chdir(tmp_path)
    assert sampling_record(model, CHOICE, 4).denoiser == str(trained_diffusion)
    assert [relative_to_cwd(name) for name in ("hub:name", "runs/one", str(tmp_path / "a" / "b"))] == [
        "hub:name",
        "runs/one",
        "a/b",
    ]
