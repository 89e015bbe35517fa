import json
from dataclasses import replace

import pytest

from spectrum_matching.cli.cite import papers_of
from spectrum_matching.files.yaml_files import to_yaml
from spectrum_matching.training import autoencoder_config, diffusion_config
from spectrum_matching.training.autoencoder_config import FAMILIES, ROWS, MethodChoice, Network, tiny
from spectrum_matching.training.diffusion_config import AlignmentChoice, ObjectiveChoice


def keys(run):
    return list(dict.fromkeys(paper.key for paper in papers_of(run)))


@pytest.mark.parametrize("name", ROWS)
def test_every_method_has_its_paper(name):
    assert keys(FAMILIES["tiny"](name))[0] == "ning2026spectrum"


def test_papers_follow_what_a_run_uses():
    assert keys(tiny("sd_vae"))[1] == "rombach2022high"
    assert "yao2025reconstruction" in keys(
        replace(tiny(), method=MethodChoice("va_vae", encoder="hub:facebook/dinov2"))
    )
    large = set(keys(autoencoder_config.celeba256_f16d16("eq_vae")))
    assert large >= {"kouzelis2025eqvae", "zhang2018unreasonable", "isola2017image", "esser2021taming"}
    assert not set(keys(tiny())) & {"zhang2018unreasonable", "isola2017image"}
    assert "rombach2022high" in keys(tiny("dsm"))
    assert "rombach2022high" not in keys(replace(tiny("dsm"), network=Network(pretrained="path/to/dc-ae")))
    plain = diffusion_config.tiny()
    assert not set(keys(plain)) & {"yu2025representation", "hang2023efficient", "lu2022dpmsolver"}
    aligned = replace(plain, alignment=AlignmentChoice(weight=1.0, encoder="hub:facebook/dinov2-base"))
    assert set(keys(aligned)) >= {"ma2024sit", "yu2025representation", "oquab2023dinov2"}
    weighted = replace(plain, objective=ObjectiveChoice(path="vp", prediction="noise", weighting="min_snr"))
    assert set(keys(weighted)) >= {"song2021score", "hang2023efficient"}


@pytest.mark.parametrize("name", diffusion_config.PRESETS)
def test_every_diffusion_preset_can_be_cited(name):
    assert "loshchilov2019decoupled" in keys(diffusion_config.PRESETS[name]())


def test_cite_reads_runs_exports_and_what_holds_them(specmatch, tmp_path):
    for name, run in {"ae": tiny("dsm"), "df": diffusion_config.tiny()}.items():
        (tmp_path / name / "export").mkdir(parents=True)
        (tmp_path / name / "run.yaml").write_text(to_yaml(run))
    status, out, _ = specmatch("cite", tmp_path)
    used = {*keys(tiny("dsm")), *keys(diffusion_config.tiny())}
    assert (status, out.count("@"), out.count("ning2026spectrum")) == (0, len(used), 1)
    one, same = (specmatch("cite", tmp_path / "ae", *more) for more in ([], [tmp_path / "ae" / "export"]))
    assert one == same
    assert list(json.loads(specmatch("cite", tmp_path / "ae", "--json")[1])) == keys(tiny("dsm"))


def test_cite_refuses_what_is_no_run(specmatch, tmp_path):
    said = f"{tmp_path} holds no run.yaml: name a run directory of train-ae or train-diffusion"
    assert specmatch("cite", tmp_path) == (2, "", f"specmatch cite: {said}\n")
