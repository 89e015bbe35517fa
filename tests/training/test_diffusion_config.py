from dataclasses import replace

import pytest

from spectrum_matching.cli.main import main
from spectrum_matching.files.yaml_files import override, read_mapping, to_yaml
from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.sampling.generate import SamplingChoice
from spectrum_matching.training.checks import check_diffusion_run
from spectrum_matching.training.diffusion_config import PRESETS, Curriculum, DenoiserChoice, DiffusionRun, Source


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_check_diffusion_run_passes_every_preset(name, tmp_path):
    run = PRESETS[name]()
    check_diffusion_run(run)
    assert (run.name, run.out) == (name, f"runs/{name}")
    build_denoiser(run.denoiser.name, 4, (8, 8), width=32, depth=2, heads=2)  # there is a network of that name
    (tmp_path / "run.yaml").write_text(to_yaml(run))
    assert override(DiffusionRun(), read_mapping(tmp_path / "run.yaml"), "run.yaml") == run


@pytest.mark.parametrize(
    ("changes", "user", "said"),
    [
        ({"objective": {"shift": 3.0}}, {"objective": {"times": "shifted"}}, "objective.times shifted uses"),
        (
            {"objective": {"times_mean": 0.5}},
            {"objective": {"times": "log_normal_angle"}},
            "objective.times log_normal or log_normal_angle uses",
        ),
        ({"objective": {"times_std": 2.0}}, {"objective": {"times": "log_normal"}}, "objective.times log_normal or"),
        ({"objective": {"gamma": 1.0}}, {"objective": {"weighting": "min_snr"}}, "objective.weighting min_snr uses"),
        ({"source": {"held_out": 0.1}}, {"source": {"images": "embedded"}}, "source.images uses"),
        ({"source": {"crop": "random"}}, {"source": {"images": "embedded"}}, "source.images uses"),
        (
            {"source": {"images": "embedded", "statistics": "channel"}},
            {"source": {"autoencoder": "somewhere"}},
            "source.latents or source.autoencoder uses",
        ),
        (
            {"source": {"images": "embedded", "sample": False}},
            {"source": {"autoencoder": "somewhere"}},
            "source.latents or source.autoencoder uses",
        ),
    ],
)
def test_check_diffusion_run_refuses_options_that_nothing_uses(changes, user, said):
    run = override(DiffusionRun(), changes, "there")
    ((part, options),) = changes.items()
    with pytest.raises(ValueError, match=f"^{part}.{[*options][-1]} is .*, which only {said}"):
        check_diffusion_run(run)
    check_diffusion_run(override(run, user, "there"))  # must not raise


def test_dry_run_prints_yaml_that_reads_back_equal(tmp_path, capsys, latent_cache):
    arguments = (
        "--source.latents",
        str(latent_cache),
        "--denoiser.name",
        "SiT-micro/4",
        "--curriculum.keep",
        "1",
        "3",
        "--curriculum.block",
        "4",
        "--preview.guidance-interval",
        "0",
        ".5",
    )
    main(["train-diffusion", "tiny_uvit", "--dry-run", *arguments])
    (tmp_path / "run.yaml").write_text(capsys.readouterr().out)
    expected = replace(
        PRESETS["tiny_uvit"](),
        source=Source(latents=str(latent_cache)),
        denoiser=DenoiserChoice("SiT-micro/4", time_scale=1000.0),
        curriculum=Curriculum(keep=(1, 3), block=4),
        preview=SamplingChoice(guidance_interval=(0.0, 0.5)),
    )
    assert override(DiffusionRun(), read_mapping(tmp_path / "run.yaml"), "run.yaml") == expected
    main(["train-diffusion", "--config", str(tmp_path / "run.yaml"), "--dry-run"])
    assert capsys.readouterr().out == to_yaml(expected, brief=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sorce: {}", "unknown key sorce; did you mean source?"),
        ("denoiser: {widht: 3}", "unknown key denoiser.widht; did you mean width?"),
        ("objective: {path: cubic}", "objective.path is 'cubic'"),
        ("steps: many", "steps is 'many'"),
        ("preview: {guidance_interval: [0]}", "preview.guidance_interval"),
    ],
)
def test_override_refuses_a_file_by_key(text, said, tmp_path, capsys):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(SystemExit) as end:
        main(["train-diffusion", "--config", str(file), "--dry-run"])
    err = capsys.readouterr().err
    assert (end.value.code, err.count("\n")) == (2, 1)
    assert f"{file}: {said}" in err


def test_presets_have_the_published_ema_clipping_and_protocol():
    """SiT, REPA and U-ViT hold 0.9999 from the first update; REPA alone clips, at 1."""
    for name, make in PRESETS.items():
        if name.startswith("tiny"):
            continue
        run = make()
        assert (run.optimizer.ema, run.optimizer.ema_ramp) == (0.9999, False)
        assert run.optimizer.clip == (1.0 if run.alignment.weight else 0.0)
        solver = "dpm_solver_3" if "imagenet" in name else "dpm_solver"
        expected = (solver, 50, 0.0) if "uvit" in name else ("euler_maruyama_mean", 250, 0.04)
        assert (run.preview.sampler, run.preview.steps, run.preview.last_step) == expected
        if run.alignment.weight:
            assert run.alignment.encoder == "repa:hub:facebook/dinov2-base"
    uvit = PRESETS["imagenet256_f8d4_uvit_l"]()
    assert (uvit.objective.path, uvit.objective.times, uvit.denoiser.time_scale) == (
        "stable_diffusion",
        "discrete",
        1000,
    )
    assert (uvit.batch_size, uvit.steps, uvit.objective.label_dropout, uvit.preview.guidance) == (
        1024,
        300_000,
        0.15,
        1.4,
    )
    assert PRESETS["celeba256_f8d4_uvit_s"]().objective.path == "vp"
