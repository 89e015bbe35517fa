"""Directional energy and the unified view from the command line to their pages."""

import dataclasses
import re
import shutil

import pytest

from spectrum_matching.analysis import analyze
from spectrum_matching.cli.main import main
from spectrum_matching.data.images import open_images
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.report.digits import number
from spectrum_matching.studies.directional_energy.page import densities
from spectrum_matching.studies.directional_energy.record import DIRECTIONAL_ENERGY
from spectrum_matching.studies.unified_view.record import UNIFIED_VIEW


def texts(page):
    """What a reader sees, without tags."""
    return " ".join(re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]+>", " ", page, flags=re.DOTALL).split())


def figures(page):
    """Caption → drawing."""
    found = re.findall(r"<figure role.*?<figcaption>(.*?)</figcaption>(.*?)</figure>", page, flags=re.DOTALL)
    return dict(found)


@pytest.fixture(scope="module")
def directional(image_folder, tmp_path_factory):
    """(arguments, folder) of a study of two encoders."""
    out = tmp_path_factory.mktemp("directional")
    arguments = ["study", "directional-energy", "fine=gradients:4", "gradients", "--data", str(image_folder)]
    arguments += ["--size", "40", "--num-images", "4", "--device", "cpu", "--gamma", "1"]
    main([*arguments, "--out", str(out)])
    return arguments, out


@pytest.mark.slow
def test_directional_energy_writes_numbers_page_and_table(directional, tmp_path, capfd):
    arguments, out = directional
    study = DIRECTIONAL_ENERGY.read(out / "study.json")
    assert [encoder.name for encoder in study.encoders] == ["fine", "gradients"]
    assert [encoder.grid for encoder in study.encoders] == [(10, 10), (5, 5)]
    assert study.sample.n_images == 4
    assert study.families == ("none", "less the mean", "band-pass", "high-pass")
    main([*arguments, "--out", str(tmp_path)])
    said = capfd.readouterr().out
    for text in ("RMSC", "fine", "less the mean, by std", str(tmp_path / "report.html")):
        assert text in said
    again = DIRECTIONAL_ENERGY.read(tmp_path / "study.json")
    assert dataclasses.replace(again, command=study.command) == study
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "study.json"]


@pytest.mark.slow
def test_directional_energy_names_and_counts_bad_files(specmatch, image_folder, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(image_folder, folder)
    (folder / "junk.png").write_bytes(b"junk")
    (folder / "empty.png").write_bytes(b"")
    options = ("--data", folder, "--size", 40, "--num-images", 30, "--device", "cpu", "--gamma", 1)
    status, _, said = specmatch("study", "directional-energy", "gradients", *options, "--out", tmp_path / "out")
    assert status == 0, said
    study = DIRECTIONAL_ENERGY.read(tmp_path / "out" / "study.json")
    assert sorted(study.sample.bad_files) == ["empty.png: empty file", "junk.png: not an image"]
    assert all(f"warning: skipped {file}" in said for file in study.sample.bad_files)
    assert any(note.startswith("2 of 26 files could not be used") for note in study.notes)


def test_directional_energy_page_shows_every_number_and_its_evidence(directional):
    _, out = directional
    study, page = DIRECTIONAL_ENERGY.read(out / "study.json"), (out / "report.html").read_text()
    drawn = figures(page)
    assert list(drawn) == [
        *("fine, 10 × 10 tokens of 36", "gradients, 5 × 5 tokens of 36"),
        *("RMSC, |r| with gFID 0.888", "LDS, |r| with gFID 0.852", "CDS, |r| with gFID 0.847"),
    ]
    for encoder, (spectrum, by_filter) in zip(study.encoders, [(0, 2), (1, 2)], strict=True):
        svg, rows = list(drawn.values())[spectrum], list(drawn.values())[by_filter]
        for own in encoder.filters:
            for frequency, density in zip(encoder.frequencies, densities(encoder, own), strict=True):
                told = f"{own.filter}\n{number(frequency)} cycles per token: {number(density)} times"
                assert density <= 0 or told in svg
            contrast = own.measurements["rmsc"]
            assert f"{encoder.name}, {own.filter}\nRMSC {number(contrast.value, 4)}" in rows
    text = texts(page)
    for said in (
        "arXiv 2512.10794",
        "27 encoders",
        "They are of encoders, not of filters",
        "Shares by band",
        study.command,
    ):
        assert said in text.replace("&#39;", "'"), said


@pytest.fixture(scope="module")
def analyses(image_folder, tmp_path_factory):
    """Files of two methods from two seeds: untrained autoencoders, those of the second said to have smaller gaps."""
    images, folder = open_images(str(image_folder), 32, split="all"), tmp_path_factory.mktemp("analyses")
    files = []
    for seed in (0, 1):
        found = analyze(Autoencoder.from_preset("tiny", seed), images, name="control", n_images=4, n_tests=2, seed=seed)
        subject = dataclasses.replace(found.subject, name="other", digest=f"other {seed}")
        views = tuple(dataclasses.replace(v, matches=tuple(map(halved, v.matches))) for v in found.views)
        files.append(folder / str(seed) / "analysis.json")
        files[-1].parent.mkdir()
        files[-1].write_text(ANALYSES.to_json([found, dataclasses.replace(found, subject=subject, views=views)]))
    return files


def halved(match):
    """A match whose gaps are a hundredth of what they were."""
    gaps = tuple(dataclasses.replace(gap, value=gap.value / 100) for gap in match.gaps)
    return dataclasses.replace(match, gaps=gaps, best_gap=match.best_gap / 100)


@pytest.mark.slow
def test_unified_view_reads_files_and_folders(analyses, tmp_path, capfd):
    first, second = analyses
    main(["study", "unified-view", str(first), str(second.parent), "--control", "control", "--out", str(tmp_path)])
    said = capfd.readouterr().out
    assert "Encoding side, gap to the target at delta 1, scale-free: acts: other." in " ".join(said.split())
    study, page = UNIFIED_VIEW.read(tmp_path / "study.json"), (tmp_path / "report.html").read_text()
    other = study.of("other")
    assert other.change("gap_scale_free").word == "acts"
    assert other.change("lowpass_gap").word == "undecided"
    assert other.change("lowpass_gap").mean == pytest.approx(0)
    text = texts(page)
    assert "Encoding side, gap to the target at delta 1, scale-free: acts: other." in text
    assert "Decoding side, low-pass gap, mean over keep: undecided: other." in text
    assert "the probability that a side names any is at most 5%" in text
    drawn = figures(page)
    assert len(drawn) == 7
    scatter = drawn["low-pass gap over gap at delta 1, scale-free"]
    assert scatter.count("<circle") == 4
    change = other.change("gap_scale_free").changes[1]
    assert f"other, seed 2 of 2\ngap at delta 1, scale-free {number(change)}" in scatter
    curve = other.seeds
    mean = sum(seed.curve("paper").gaps[0] for seed in curve) / 2
    assert f"other\ndelta {number(study.deltas[0])}: gap {number(mean)}" in drawn["Gap over delta, the paper’s"]
    cells = re.findall(r"<td data-sort=\"([^\"]*)\">", page)
    for each in other.changes:
        assert any(float(cell) == pytest.approx(each.mean) for cell in cells if cell), each.key


def test_unified_view_refuses_two_analyses_of_one_trial(analyses, tmp_path, capfd):
    for file, name in zip(analyses, ("analysis-0123456789", "analysis-abcdef0123"), strict=True):
        (tmp_path / "dsm" / "seed0" / name).mkdir(parents=True)
        (tmp_path / "dsm" / "seed0" / name / "analysis.json").write_bytes(file.read_bytes())
    for named in ([tmp_path], sorted((tmp_path / "dsm" / "seed0").iterdir())):
        with pytest.raises(SystemExit):
            main(["study", "unified-view", *map(str, named), "--control", "control", "--out", str(tmp_path / "out")])
        assert f"{tmp_path / 'dsm' / 'seed0'} has several analyses, " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("directional-energy --data {data} --size 40 --out {out}/new", "no encoder was given"),
        ("directional-energy nowhere --data {data} --size 40 --out {out}/new", "nowhere is not a folder"),
        ("directional-energy gradients:0 --data {data} --size 40 --out {out}/new", "the cell must be a whole number"),
        ("directional-energy gradients --data {data} --size 40 --out {out}/new --num-images 1", "at least 2 images"),
        ("directional-energy gradients:4 gradients:7 --data {data} --size 40 --out {out}/new", "no grid of cells of 7"),
        ("directional-energy gradients --data {data} --size 40 --out {out}/new --gamma nan", "gamma"),
        ("directional-energy gradients --data {data} --out {out}/new --size 24", "tokens are too few"),
        ("directional-energy gradients --data {data} --out {out}/new --size 40 --outer 0.4", "0 < inner < outer"),
        (
            "directional-energy gradients --data {data} --size 40 --out {out}/new --masks {out}/none",
            "no such folder of masks",
        ),
        ("directional-energy autoencoder:{out} --data {data} --size 40 --out {out}/new", "{out}"),
        ("unified-view --control a --out {out}/new", "no analysis was given"),
        ("unified-view {analysis} --control a --out {out}/new", "--control a: no analysis has that name"),
        ("unified-view {out}/none.json --control a --out {out}/new", "cannot read"),
        ("unified-view {out} --control a --out {out}/new", "holds no analysis.json"),
        ("unified-view {analysis} {analysis} --control control --out {out}/new", "are of the same weights"),
    ],
)
def test_study_reports_user_errors_in_one_line(words, said, image_folder, analyses, tmp_path, capfd):
    places = {"data": image_folder, "out": tmp_path, "analysis": analyses[0]}
    with pytest.raises(SystemExit) as stopped:
        main(["study", *words.format(**places).split()])
    assert stopped.value.code == 2
    *opened, line = capfd.readouterr().err.splitlines()
    assert line.startswith("specmatch study: ")
    assert opened in ([], [f"{image_folder}: 24 images"])
    assert said.format(**places) in line
    assert not (tmp_path / "new" / "study.json").exists()
