import dataclasses
import json
import math
from pathlib import Path

import pytest

from spectrum_matching.metrics.atlas import spaces
from spectrum_matching.metrics.atlas.spaces import ATLAS, BOARD, read_atlas
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.metrics.ranks import rank_correlation

FILE = Path(spaces.__file__).with_name("atlas.json")


def test_read_atlas_has_every_row_of_both_tables_with_its_source():
    atlas = read_atlas()
    assert [len(atlas.of(source.key)) for source in atlas.sources] == [25, 24]
    assert all(source.date and source.title for source in atlas.sources)
    assert len({(space.name, space.source) for space in atlas.published}) == 49
    assert read_atlas() is atlas


def test_impossible_names_three_irreducible_variances_and_nothing_else():
    atlas = read_atlas()
    assert atlas.impossible() == [
        ("SD-VAE", "viv_class", 2.80),
        ("EQ-VAE", "viv_class", 2.13),
        ("REPAE-SDVAE", "viv_class", 2.90),
    ]
    spaces_by_name = {space.name: space for space in atlas.of(BOARD)}
    assert spaces_by_name["SD-VAE"].number("viv_class") is None
    assert spaces_by_name["SD-VAE"].number("sec_50") == 0.209
    assert spaces_by_name["IN-VAE"].number("viv_class") == 1.22


def test_published_space_factor_is_of_grids_alone():
    spaces_by_name = {space.name: space for space in read_atlas().of(BOARD)}
    factors = {name: spaces_by_name[name].factor(256) for name in ("SD-VAE", "DC-AE", "VA-VAE", "MAE-TOK")}
    assert factors == {"SD-VAE": 8, "DC-AE": 32, "VA-VAE": 16, "MAE-TOK": 0}


def test_published_spaces_with_representation_learning_have_lower_fid():
    rows = [(space.representation, space.number("gfid_sit_b")) for space in read_atlas().of(BOARD)]
    bits, fids = zip(*((float(bit), math.log(fid)) for bit, fid in rows if fid), strict=True)
    assert len(bits) == 21
    assert rank_correlation(bits, fids) < -0.6


def test_atlas_refuses_an_own_number_beyond_its_bounds():
    atlas = read_atlas()
    trial = dataclasses.replace(atlas.trials[0], numbers={"sec_50": 1.2})
    with pytest.raises(
        ValueError, match=r"^autoencoder, seed 0: sec_50 is 1.2, which its definition forbids \(0 to 1\)$"
    ):
        dataclasses.replace(atlas, trials=(trial,))
    assert dataclasses.replace(atlas, trials=(dataclasses.replace(trial, numbers={"sec_50": 1.0}),))


def test_atlas_refuses_a_row_without_its_source():
    atlas = read_atlas()
    with pytest.raises(ValueError, match="its source 'elsewhere' is not among"):
        dataclasses.replace(atlas, published=(dataclasses.replace(atlas.published[0], source="elsewhere"),))


def test_atlas_refuses_a_damaged_file(tmp_path):
    content = json.loads(FILE.read_text())
    content["atlas"]["trials"][0]["numbers"]["psnr"] = 120.0
    (tmp_path / "atlas.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"psnr is 120\.0"):
        ATLAS.read(tmp_path / "atlas.json")


def test_trials_hold_numbers_of_the_catalogue():
    trials = read_atlas().trials
    assert len({(trial.method, trial.seed) for trial in trials}) == len(trials) >= 14
    assert all(trial.numbers.keys() <= METRICS.keys() and "fid" in trial.scores for trial in trials)
