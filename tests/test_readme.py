"""Numbers in the documents are those of experiments/results."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from spectrum_matching.metrics.ranks import rank_correlation
from spectrum_matching.records.comparison import COMPARISON, order, spread
from spectrum_matching.report.digits import number
from spectrum_matching.studies.frequency_bias.record import FREQUENCY_BIAS
from spectrum_matching.studies.unified_view.page import unified_lead
from spectrum_matching.studies.unified_view.record import UNIFIED_VIEW

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"


def experiment(name):
    if str(ROOT / "experiments") not in sys.path:
        sys.path.append(str(ROOT / "experiments"))  # for what lies beside it
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(RESULTS.glob("methods_*.json")), ids=lambda path: path.stem)
def test_tables_of_methods_are_those_of_the_results(path):
    document = json.loads(path.read_text())
    assert experiment("methods_at_small_scale").table(document) in (ROOT / "experiments" / "README.md").read_text()


def test_the_findings_on_a_real_latent_space_are_those_of_the_results():
    document = json.loads((RESULTS / "latents_taef2.json").read_text())
    page = " ".join((ROOT / "docs" / "taef2.md").read_text().split())
    for line in experiment("real_latents").table(document).splitlines():
        assert line in page
    assert document["command"] in page
    plain, noisy, blurred = document["rows"]
    low, high = plain["best_delta_interval"]
    point = plain["lowpass"][1]
    stays = [row[i] for i, row in enumerate(plain["transfer"]["shares"])]
    psnr = [row["numbers"]["psnr"]["value"] for row in (plain, noisy, blurred)]
    for said in (
        f"(95 % {low:.2f} … {high:.2f})",
        f"decode to {point['decoded']['value']:.1f} dB",
        f"output gives {point['aligned']['value']:.1f} dB",
        f"stays in it for {stays[0]:.0%}".replace("%", " %"),
        f"{min(stays[-4:]):.0%}".replace("%", "") + f" to {max(stays[-4:]):.0%}".replace("%", " %"),
        f"PSNR falls by {psnr[0] - psnr[2]:.1f} dB",
        f"PSNR falls by {psnr[0] - psnr[1]:.1f} dB",
    ):
        assert said in page, said


def test_what_scores_are_worth_is_that_of_the_results():
    document = json.loads((RESULTS / "scores_cifar10.json").read_text())
    measured = experiment("scores_of_known_damage")
    page = (ROOT / "docs" / "evaluate.md").read_text()
    assert measured.table(document) in page
    assert document["command"] in page
    page = " ".join(page.split())
    found = measured.spread(document)
    real, uniform = document["rows"][0]["scores"], document["rows"][-1]["scores"]
    for said in (
        f"at {real['fid']['value']:.2f} from {document['n_reference']:,} others",
        f"{document['together']['n_images']:,} at {document['together']['fid']:.2f}",
        f"at {real['fid']['value']:.2f} its mean was {found['bootstrap_mean']:.2f}",
        f"a standard deviation of {found['over_sets']:.3f}",
        f"delta method gave {found['delta_method']:.3f}, the bootstrap {found['bootstrap']:.3f}",
        f"has {uniform['precision']['value']:.2f} in those features, with a recall of {uniform['recall']['value']:.0f}",
    ):
        assert said in page, said


def test_the_table_of_the_readme_is_one_of_them():
    readme = (ROOT / "README.md").read_text()
    tables = [
        experiment("methods_at_small_scale").table(json.loads(path.read_text()))
        for path in RESULTS.glob("methods_*.json")
    ]
    assert any(table in readme for table in tables)


def test_speeds_are_those_of_the_results():
    losses = json.loads((RESULTS / "speed_losses.json").read_text())
    training = json.loads((RESULTS / "speed_training_cpu.json").read_text())
    said = (ROOT / "bench" / "README.md").read_text()
    for name in ("esm", "dsm"):
        for state in ("warm", "cold"):
            assert f"{losses[name][state]['ratio']['median']:.1f} ×" in said
    assert f"{100 * losses['training_step']['share']:.2f} %" in said
    for name, row in training["cases"].items():
        assert f"| {name} | {row['images_per_second']:.0f} |" in said


def test_the_cost_of_measuring_is_that_of_the_results():
    cost = json.loads((RESULTS / "speed_analysis.json").read_text())
    said = (ROOT / "bench" / "README.md").read_text()
    for name in ("encoding", "decoding"):
        assert f"| {name} | {cost['seconds'][name]:.0f} | {cost['images_through'][name]} |" in said
    assert f"| {cost['everything_else']:.0f} | |" in said
    assert f"{cost['ratio_to_encoding_and_decoding']:.2f} of the time" in said


def test_the_readme_rounds_the_speeds_down():
    losses = json.loads((RESULTS / "speed_losses.json").read_text())
    readme = (ROOT / "README.md").read_text()
    for name, phrase in (("esm", r"ESM (\d+) × "), ("dsm", r"block low-pass (\d+) × ")):
        assert int(re.search(phrase, readme)[1]) == int(losses[name]["warm"]["ratio"]["median"])


def test_what_the_documents_link_to_is_there():
    for document in (*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("docs/*.md")):
        for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
            assert link.startswith("https://") or (document.parent / link).exists(), f"{document.name} links to {link}"


def test_the_reading_of_the_comparison_is_that_of_its_results():
    page = (ROOT / "docs" / "compare.md").read_text()
    kept = COMPARISON.read(RESULTS / "compare_cifar10.json")
    assert experiment("does_diffusion_gain").table(kept).strip() in page
    assert not kept.images
    assert not any(trial.samples for trial in kept.trials)
    fid = {method: spread([t.generation.value("fid") for t in kept.of(method)]) for method in kept.methods}
    rfid = {method: spread([t.reconstruction.value("rfid") for t in kept.of(method)]) for method in kept.methods}
    ranked = sorted(fid, key=lambda method: fid[method].mean)
    assert (ranked[0], ranked[-1]) == ("DSM", "EQ-VAE")
    assert all(order(fid["DSM"], fid[method]) == "below" for method in ranked[1:])
    assert sorted(rfid, key=lambda method: rfid[method].mean)[-2] == "DSM"
    pairs = [(a, b) for i, a in enumerate(ranked) for b in ranked[i + 1 :]]
    n_decided = sum(order(fid[a], fid[b]) != "undecided" for a, b in pairs)
    assert f"Of {len(pairs)} pairs of methods {n_decided} are decided" in page
    for method in ("SD-VAE", "ESM, paper", "ESM, scale-free"):
        assert order(fid[method], fid["autoencoder"]) == "undecided"
    correlations = []
    for key in ("psnr", "best_delta", "gap_scale_free_1", "lowpass_gap"):
        correlations.append(rank_correlation([t.numbers[key] for t in kept.trials], _fids(kept)))
    correlations.append(rank_correlation([t.reconstruction.value("rfid") for t in kept.trials], _fids(kept)))
    assert max(map(abs, correlations)) < 0.255
    hours = sum(seconds for trial in kept.trials for seconds in trial.seconds.values()) / 3600
    assert f"{hours:.1f} hours of computation" in page.replace("\n", " ")


def _fids(comparison):
    return [trial.generation.value("fid") for trial in comparison.trials]


def test_the_cost_of_the_plans_is_that_of_the_results():
    document = json.loads((RESULTS / "cost_of_plans.json").read_text())
    assert experiment("cost_of_plans").table(document) in (ROOT / "docs" / "compare.md").read_text()


def test_the_speed_of_the_cache_is_that_of_the_results():
    speed = json.loads((RESULTS / "speed_cache.json").read_text())
    said = (ROOT / "bench" / "README.md").read_text()
    for layout in ("f16d16", "f8d4"):
        for verb in ("write", "read"):
            found = speed[layout][verb]
            cells = [f"{found['ours']['images_per_second']['median']:,.0f}"]
            for other in (found["float16"], found["float32"]):
                ratio = other["ratio"]
                cells.append(f"{ratio['median']:.1f} × ({ratio['q1']:.1f} … {ratio['q3']:.1f})")
                cells.append(f"{other['ratio_of_work']['median']:.1f} ×")
            assert f"| {layout}, {verb} | {' | '.join(cells)} |" in said


def test_the_theory_says_what_was_found():
    page = " ".join((ROOT / "docs" / "theory.md").read_text().split())
    study = FREQUENCY_BIAS.read(RESULTS / "frequency_bias_cifar10.json")
    esm = json.loads((RESULTS / "what_esm_asks_for.json").read_text())
    images, white, steep, flat, surrogates, weighed, data = (
        study.of(name)
        for name in (
            *("images", "white noise", "images, delta -1", "images, delta 2", "Gaussian surrogates", "loss over power"),
            "predicts data",
        )
    )
    assert {number(band.ratio.value) for case in white for band in case.bands} == {"1.00"}
    halves = [band.half for band in images[0].bands]
    never = [band.half is None for band in data[0].bands]
    assert never == sorted(never)
    assert data[0].rank_correlation.half > 0.9
    levels = [case.levels[len(case.levels) // 2] for case in images]
    best = esm["losses"]["paper"]["best_exponent"]
    assert set(esm["losses"]["scale_free"]["best_exponent"].values()) == {1.1}

    def both(values):
        one, other = values
        return f"{one:.2f} and {other:.2f}".replace("-", "−")

    def ratios(cases, band):
        return [case.bands[band].ratio.value for case in cases]

    def left(cases, band):
        return number(cases[0].bands[band].final_loss - cases[0].bands[band].wiener_loss)

    def lefts(cases, band):
        return " and ".join(number(case.bands[band].final_loss - case.bands[band].wiener_loss) for case in cases)

    assert all(case.rank_correlation.ratio > 0.9 for case in images)
    for said in (
        f"the lowest band ends at {both(ratios(images, 0))} times that denoiser's error, the highest at "
        f"{both(ratios(images, -1))}",
        f"the lowest band has {lefts(images, 0)} of the loss left to learn, one of the highest {lefts(images, -1)}",
        f"by f² leaves {both(ratios(flat, -1))} in the highest band",
        f"none of their edges have {number(ratios(surrogates, -1)[0])}",
        f"makes it {number(ratios(steep, -1)[0])}, with as much of the loss left, {left(steep, -1)}",
        f"the {sum(never)} highest of {len(never)} bands not at all",
        f"after {halves[0]:.0f} updates, of the highest after {halves[-1]:.0f}, and the slowest, "
        f"with {max(halves):.0f}",
        f"correlation with frequency {both(case.rank_correlation.half for case in images)}",
        f"Flattened images have {both(case.rank_correlation.half for case in flat)}",
        f"ends at {number(ratios(weighed, 0)[0])} times the best linear denoiser's error, the highest at "
        f"{number(ratios(weighed, -1)[0])}",
        f"the whole error is {both(level.relative_error / level.wiener_relative_error for level in levels)} times",
        f"per degree, {both(level.csf_error / level.wiener_csf_error for level in levels)} times",
        f"is {best['0.1']} at a standard deviation of 0.1 and {best['20.0']} at 20",
        f"has {number(esm['targets']['8']['upper_half_paper'])} of the target, whose bands add up to 1, instead of "
        f"{number(esm['targets']['8']['upper_half_own'])}",
        f"down to {esm['masks']['5']['pixels_image']:.0f} pixels of the image and down to "
        f"{esm['masks']['5']['pixels_latent_f16']:.0f} pixels of the latents, at `keep` 5",
    ):
        assert said in page, said


def test_what_to_expect_of_the_embedded_study_is_what_it_found():
    study = FREQUENCY_BIAS.read(RESULTS / "frequency_bias_embedded.json")
    page = " ".join((ROOT / "docs" / "study.md").read_text().split())
    ends = [number(study.of(name)[0].bands[-1].ratio.value) for name in ("images", "images, delta 2", "white noise")]
    assert f"({study.cases[0].evals[-1].step} updates, {len(study.cases)} cases)" in page
    assert (
        f"images end at {ends[0]} times the best linear denoiser's error, flattened by f² at {ends[1]}, white noise at"
        in page
    )
    assert f"white noise at {ends[2]}." in page


def test_the_reading_of_the_alignments_is_that_of_their_results():
    page = (ROOT / "docs" / "alignment.md").read_text()
    kept, redrawn = (COMPARISON.read(RESULTS / f"compare_cifar10_alignment{name}.json") for name in ("", "_redrawn"))
    assert experiment("does_diffusion_gain").table(kept).strip() in page
    for comparison in (kept, redrawn):
        assert not comparison.images
        assert not any(trial.samples for trial in comparison.trials)
    assert experiment("does_alignment_help").table(kept, redrawn) in page
    hours = sum(seconds for trial in kept.trials for seconds in trial.seconds.values()) / 3600
    assert f"took {hours:.1f} hours" in page
    assert f"{len(kept.of(kept.control)) + len(redrawn.of(redrawn.control))} differences a cell" in page
    # The rest of the reading is that of the ledger's rows, which tests/test_ledger.py holds.
    fids = {name: spread([t.generation.value("fid") for t in kept.of(name)]) for name in kept.methods}
    assert {order(own, fids["none"]) for name, own in fids.items() if name != "none"} == {"undecided"}


def test_the_reading_of_the_unified_view_is_that_of_its_results():
    view = UNIFIED_VIEW.read(RESULTS / "unified_view_cifar10.json")
    page = " ".join((ROOT / "experiments" / "README.md").read_text().split())
    for line in unified_lead(view):
        assert line in page
    for name in ("EQ-VAE", "Scale Equivariance"):
        words = [view.of(name).change(key).word for key in ("lowpass_gap", "lowpass_psnr", "psnr")]
        assert words == ["acts", "does not", "lower"]
    vision = view.of("VA-VAE, gradients")
    assert "acts" not in [vision.change(key).word for key in ("gap_scale_free", "best_gap_scale_free")]
    assert {view.of("DSM").change(key).word for key in ("lowpass_gap", "lowpass_psnr")} == {"acts"}


def test_the_cost_of_alignment_is_that_of_the_results():
    cost = json.loads((RESULTS / "speed_alignment.json").read_text())
    said = (ROOT / "bench" / "README.md").read_text()
    assert abs(cost["tap_off"] - 1) < 0.01
    assert f"{100 * (cost['tap_off'] - 1):.1f} %" in said
    for name in ("REPA", "iREPA", "REPA-DoG"):
        found = cost["ratio_to_plain"][name]
        assert f"| {name} | {found['median']:.3f} | {found['q1']:.3f} … {found['q3']:.3f} |" in said
