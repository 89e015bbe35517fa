from dataclasses import replace

import pytest
import yaml

from spectrum_matching.files.yaml_files import nearest, override, read_mapping, to_yaml
from spectrum_matching.training import autoencoder_config

RUN = autoencoder_config.PRESETS["celeba256_f8d4_esm_dsm"]()


@pytest.mark.parametrize("name", autoencoder_config.PRESETS)
def test_to_yaml_reads_back_every_preset(name):
    run = autoencoder_config.PRESETS[name]()
    assert override(autoencoder_config.AutoencoderRun(), yaml.safe_load(to_yaml(run)), "there") == run


def test_to_yaml_reads_back_every_kind_of_value():
    run = replace(
        RUN,
        name="Grüße: #1",
        trackers=("wandb", "tensorboard"),
        method=autoencoder_config.MethodChoice("dsm", keep=(15, 3), block=8),
        optimizer=autoencoder_config.Optimizer(lr=1e-7, betas=(0.5, 0.9)),
        network=autoencoder_config.Network(pretrained="~/null"),
    )
    assert override(RUN, yaml.safe_load(to_yaml(run)), "there") == run


def test_override_changes_only_what_it_names():
    changed = override(RUN, {"seed": 3, "data": {"size": 128}, "method": {"keep": [7, 3]}}, "part.yaml")
    assert changed == replace(RUN, seed=3, data=replace(RUN.data, size=128), method=replace(RUN.method, keep=(7, 3)))
    assert override(RUN, {}, "nothing") == RUN


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"optimiser": {"lr": 1}}, "unknown key optimiser; did you mean optimizer"),
        ({"optimizer": {"leaning": 1}}, "unknown key optimizer.leaning"),
        ({"data": {"siz": 1}}, "unknown key data.siz; did you mean size"),
        ({"zzz": 1}, "unknown key zzz; known are name, out, seed"),
        ({7: 1}, "unknown key 7"),
        ({"data": 3}, "data is 3: expected keys and values"),
        ({"data": None}, "data is None: expected keys and values"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"steps": None}, "steps is None"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"name": ["a"]}, r"name is \['a'\]"),
        ({"data": {"crop": "middle"}}, "data.crop is 'middle': must be 'random' or 'center'"),
        ({"data": {"flip": "perhaps"}}, "data.flip is 'perhaps'"),
        ({"method": {"name": "vae"}}, "method.name is 'vae'"),
        ({"method": {"keep": 7}}, "method.keep is 7"),
        ({"method": {"keep": [7, "x"]}}, "method.keep.1 is 'x'"),
        ({"optimizer": {"betas": [0.9]}}, "optimizer.betas"),
        ({"trackers": ["excel"]}, "trackers.0 is 'excel'"),
        ({"steps": True}, "steps is True: expected int, not a truth value"),
        ({"optimizer": {"lr": False}}, "optimizer.lr is False: expected float, not a truth value"),
        ({"method": {"keep": [7, True]}}, "method.keep.1 is True"),
        ({"seed": 2**63}, f"seed is {2**63}: expected a number below 2"),
        ({"intervals": {"log": 10**20}}, f"intervals.log is {10**20}: expected a number below 2"),
    ],
)
def test_override_names_a_key_that_is_unknown_or_mistyped(mapping, said):
    with pytest.raises(ValueError, match=rf"^f\.yaml: {said}") as caught:
        override(RUN, mapping, "f.yaml")
    assert "\n" not in str(caught.value)


def test_override_takes_text_for_a_number(tmp_path):
    file = tmp_path / "part.yaml"
    file.write_text("optimizer:\n  lr: 1e-5\n")
    assert override(RUN, read_mapping(file), str(file)).optimizer.lr == 1e-5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: true", r"steps is True"),
        ("steps: 1:30", r"steps is '1:30': must be a valid integer"),
        ("steps: 2020-13-45", r"steps is '2020-13-45': must be a valid integer"),
        ("steps: 1\nsteps: 2", r"steps is there twice, again in line 2"),
        ("data:\n  size: 32\n  size: 64", r"data\.size is there twice"),
    ],
)
def test_run_file_with_a_trap_of_yaml_names_file_and_key(tmp_path, text, said):
    file = tmp_path / "part.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"part\.yaml: {said}") as caught:
        override(RUN, read_mapping(file), str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "a: [1", "\x00", "a: !!python/object:os.system {}"])
def test_read_mapping_names_a_file_without_a_run(tmp_path, text):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"run\.yaml") as caught:
        read_mapping(file)
    assert "\n" not in str(caught.value)


def test_read_mapping_names_a_missing_or_binary_file(tmp_path):
    with pytest.raises(ValueError, match=r"none\.yaml"):
        read_mapping(tmp_path / "none.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"picture\.yaml"):
        read_mapping(tmp_path / "picture.yaml")


def test_nearest_quotes_names_that_hold_a_comma():
    assert nearest("DSMM", ["DSM", "ESM, paper"]) == "did you mean DSM?"
    assert nearest("ESM paper", ["DSM", "ESM, paper"]) == "did you mean 'ESM, paper'?"
    assert nearest("???", ["DSM", "ESM, paper"]) == "known are DSM, 'ESM, paper'"
