import base64
import csv
import hashlib
import io
import math
import re
from dataclasses import fields, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from html_of_tests import Elements
from spectrum_matching.analysis.verdict import with_findings
from spectrum_matching.metrics.atlas.outlook import pair_verdicts
from spectrum_matching.metrics.catalogue import GENERATIVE_METRICS, METRICS
from spectrum_matching.metrics.images.frechet import FLOOR_METRIC
from spectrum_matching.records import analysis as module
from spectrum_matching.records.analysis import (
    ANALYSES,
    KINDS,
    Analysis,
    Channel,
    Decoding,
    EquivariancePoint,
    Finding,
    LatentPicture,
    LatentView,
    LowpassPoint,
    NoisePoint,
    Normalisation,
    Picture,
    Provenance,
    Sample,
    Spectrum,
    SpectrumMatch,
    Subject,
    Transfer,
)
from spectrum_matching.records.coverage import Coverage
from spectrum_matching.records.generative import Generative
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.report.analysis import metric_rows as rows_of_metrics
from spectrum_matching.report.analysis import tables
from spectrum_matching.report.analysis.answer import NOT_SHOWN, answers
from spectrum_matching.report.analysis.context import comparability, notes, own_findings, shared_findings
from spectrum_matching.report.analysis.figures import gap_curves
from spectrum_matching.report.analysis.page import render
from spectrum_matching.report.analysis.tables import best, summary_table
from spectrum_matching.report.analysis.terms import described, explained, split_terms
from spectrum_matching.report.canvas import NOTHING
from spectrum_matching.report.digits import decimals, fixed, number
from spectrum_matching.report.terminal import answer_lines

HOSTILE = "<i>first</i> & $x_1$ \"quoted\" {x} </script><script>document.title='owned'</script>"
DELTAS = tuple(i / 10 for i in range(-5, 26))
OF_DECODER = {"psnr", "ssim", "lpips", "rfid", "lowpass_gap", "noise_psnr", "transfer_diagonal"}
OF_GENERATION = {metric.key for entry in GENERATIVE_METRICS for metric in entry.metrics} | {FLOOR_METRIC.key}
OF_FEW = {"posterior_noise", "lnc", "gsq", "viv_class", "srss"}


def near(value, relative=0.01):
    """An estimate with a standard error of so much of it."""
    return Measurement(value, abs(value) * relative)


def shares(power):
    return tuple(p / sum(power) for p in power)


def png(seed, side):
    """Smooth stripes, as base64."""
    import io

    import numpy as np
    from PIL import Image

    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(2 * np.pi * (seed + 2) * (x * math.cos(seed + c) + y * math.sin(seed + c))) for c in range(3)]
    file = io.BytesIO()
    Image.fromarray((127 + 120 * np.stack(waves, -1)).astype("uint8")).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def synthetic(name="first", shape=(8, 16, 16), exponent=1.2, psnr=27.41, stochastic=True, states=("live",), size=64):
    """A complete analysis with latents of 1 / f^exponent; every number follows from the arguments."""
    c, h, w = shape
    f = tuple((i + 0.5) / 16 * math.sqrt(0.5) for i in range(1, 16))
    image = Spectrum(f, tuple(40 * x**-2.1 for x in f), near(2.1))
    power = tuple(x**-exponent for x in f)

    def match(variant, bump):
        targets = tuple(shares([x ** (d - 2.1) for x in f]) for d in DELTAS)
        optimum = 2.1 - exponent + bump
        gaps = tuple(Measurement(0.03 + 0.2 * (d - optimum) ** 2, 0.004) for d in DELTAS)
        interval = (optimum - 0.06, optimum + 0.05)
        return SpectrumMatch(variant, f, shares(power), DELTAS, targets, gaps, optimum, interval, 0.03)

    def measurement(key, index, offset):
        if key == "viv":
            why = f"needs 3 · {h} · {w} / {c} images or more, and there are 64"
            return Measurement(None, refused=why)
        value = {"psnr": psnr, "exponent": exponent, "best_delta": 2.1 - exponent}.get(key, 0.3 + 0.02 * index + offset)
        return Measurement(value, 0.004, 0.867 if key == "sec_25" else None)

    def view(kind):
        offset = 0.0 if kind == "mean" else 0.05
        channels = []
        for i in range(c):
            state = states[i % len(states)]
            std = {"live": 1 + 0.05 * i, "outlier": 9.0, "dead": 0.0}[state]
            of_power = tuple(std**2 * x ** -(exponent + 0.03 * i) for x in f)
            alive = state != "dead"
            channels.append(
                Channel(0.1 - 0.05 * i, std, 0.2 if alive else None, exponent if alive else None, of_power, state)
            )
        noisy = tuple(p + 4 * offset for p in power)
        keys = [key for key in METRICS if key not in OF_DECODER | OF_GENERATION | OF_FEW]
        return LatentView(
            kind=kind,
            mean=-0.02,
            std=1.1 + offset,
            channels=tuple(channels),
            spectrum=Spectrum(f, noisy, near(exponent)),
            matches=(match("scale_free", offset), match("paper", 0.4 + offset)),
            cosine_by_distance=tuple(math.exp(-d / (2 + exponent)) - 0.02 for d in range(h + w - 1)),
            eigenvalues=tuple(2.0**-i for i in range(c)),
            block_dct=tuple((1 + i) ** (-exponent / 2) for i in range(64)),
            measurements={key: measurement(key, index, offset) for index, key in enumerate(keys)},
        )

    decoding = Decoding(
        measurements={key: measurement(key, index, 0) for index, key in enumerate(METRICS) if key in OF_DECODER},
        n_tests=32,
        lowpass=tuple(
            LowpassPoint(
                k, near(psnr - (15 - k) / 3), near(psnr + (15 - k) / 6), near(20 + k), near((15 - k) / 2, 0.05)
            )
            for k in (15, 7, 5, 3)
        ),
        lowpass_block=8,
        noise=tuple(
            NoisePoint(s, near(psnr - 20 * math.log10(10 * s)), near(0.4 / (1 + s))) for s in (0.1, 0.2, 0.5, 1)
        ),
        transfer=Transfer(
            frequencies=tuple((i + 1) / 8 * math.sqrt(0.5) for i in range(8)),
            shares=tuple(shares([math.exp(-abs(i - j) * exponent) + 0.02 for j in range(9)]) for i in range(8)),
            even=shares([1 + 2 * j for j in range(8)] + [40]),
            gains=tuple(1 / (1 + i) for i in range(8)),
            diagonal=near(0.46),
            strength=0.2,
            n_images=16,
        ),
    )
    generative = Generative(
        measurements={key: measurement(key, index, 0) for index, key in enumerate(METRICS) if key in OF_GENERATION},
        reference="photographs",
        reference_digest="0123456789abcdef",
        holds="sample",
        coverage=Coverage(448, 448, 10, 10),
        n_evaluated=64,
        n_generated=64,
        extractor="inception",
        extractor_digest="fedcba9876543210",
        resizer="bilinear",
    )
    kinds = ("mean", "sample") if stochastic else ("mean",)
    pictures = [
        Picture(f"image {n}", keep, decoded, png(n + keep % 7 + 3 * decoded * len(name), size))
        for n in (1, 2)
        for keep in (15, 7, 5, 3)
        for decoded in (False, True)
    ]
    return Analysis(
        subject=Subject(
            name, f"folder/{name}", "AutoencoderKL", size // h, c, stochastic, 1_234_567, "0123456789abcdef"
        ),
        sample=Sample("photographs", "held_out", Coverage(64, 512, 9, 10), size, "fedcba9876543210", ()),
        provenance=Provenance("0.2.0", "afc7f8e", "2.13.0", "0.42.0", "cpu", "float32", 0),
        latent_shape=shape,
        image=image,
        image_on_latent_grid=image,
        image_block_dct=tuple((1 + i) ** -1.0 for i in range(64)),
        views=tuple(view(kind) for kind in kinds),
        normalisation=Normalisation("shift and scale", near(1.31), (0.8, 1.6), (-0.2, 0.3), 0.9091),
        equivariance=(
            EquivariancePoint("half size", "area", near(0.21)),
            EquivariancePoint("half size", "bicubic", near(0.17)),
            EquivariancePoint("quarter turn", "", near(0.66 / exponent)),
            EquivariancePoint("mirrored", "", near(0.05)),
        ),
        decoding=decoding,
        generative=generative,
        pictures=tuple(pictures),
        latent_pictures=tuple(LatentPicture(f"image {n}", png(n + len(name), h)) for n in (1, 2)),
        findings=(
            Finding(
                "spectrum-steeper",
                "neutral",
                "The latents’ spectrum is steeper than the target.",
                "Best delta 0.31.",
                "Fine-tune with ESM.",
                "specmatch train-ae finetune256_esm --network.pretrained folder",
            ),
            Finding("decoder-aligned", "neutral", "The decoder keeps frequencies apart.", "Gap 0.6 ± 0.1 dB."),
            Finding("scale-wrong", "bad", "The declared scale does not match.", "Std 1.31.", "Scale by 0.9091."),
            Finding("off-centre", "warning", "Some channels are far from centred.", "0.21."),
        ),
        notes=("Low-pass in blocks of 8.",),
    )


@pytest.fixture(scope="module")
def analyses():
    """Two stochastic autoencoders of one shape; the first has a name that a careless page would run."""
    return [
        synthetic(HOSTILE),
        synthetic("second", exponent=0.9, psnr=24.8, states=("live", "live", "outlier", "dead")),
    ]


@pytest.fixture(scope="module")
def page(analyses):
    return render(analyses)


@pytest.mark.slow
def test_render_loads_nothing_and_runs_only_its_own_script(page):
    elements = Elements(page)
    for tag, attributes in elements.all:
        assert tag not in {"iframe", "object", "embed", "form"}
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    outside_data = re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
    assert not re.findall(r"url\((?!#)", outside_data)
    assert "@import" not in outside_data
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    policy = next(meta["content"] for meta in elements.named("meta") if "http-equiv" in meta)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


@pytest.mark.slow
def test_render_is_deterministic_also_from_json(analyses, page, tmp_path):
    (tmp_path / "analysis.json").write_text(ANALYSES.to_json(analyses))
    assert render(ANALYSES.read(tmp_path / "analysis.json")) == page


@pytest.mark.slow
def test_render_escapes_html_everywhere():
    whole = synthetic("name " + HOSTILE, states=("outlier",))
    whole = replace(
        whole,
        subject=replace(whole.subject, source="source " + HOSTILE, kind="kind " + HOSTILE, digest="digest " + HOSTILE),
        sample=replace(
            whole.sample, source="data " + HOSTILE, split="split " + HOSTILE, bad_files=("file " + HOSTILE,)
        ),
        provenance=replace(whole.provenance, commit="commit " + HOSTILE, dtype="dtype " + HOSTILE),
        equivariance=(EquivariancePoint("<b>turn", "</text>", near(0.2)),),
        findings=(
            Finding(
                "scale-wrong", "bad", *(f"{part} {HOSTILE}" for part in ("verdict", "evidence", "advice", "command"))
            ),
        ),
        notes=("note " + HOSTILE,),
        pictures=tuple(replace(p, image="image " + HOSTILE) for p in whole.pictures),
    )
    page = render([whole, replace(PARTIAL["latents alone"], latent_shape=(1, 2, 3))])
    assert page.count("<script") == 1
    assert "<i>first" not in page
    assert "<b>turn" not in page
    assert page.count("&lt;/text&gt;") > 3
    escaped = (
        HOSTILE.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&#34;")
        .replace("'", "&#39;")
    )
    for what in (
        "name",
        "source",
        "kind",
        "digest",
        "data",
        "split",
        "file",
        "commit",
        "dtype",
        "verdict",
        "advice",
        "image",
    ):
        assert f"{what} {escaped}" in page, what


def test_render_labels_figures_and_has_unique_ids(page):
    elements = Elements(page)
    figures = elements.named("figure")
    first, spectra, gaps, structure, channels, samples, lowpass, transfer, responses = 1, 3, 2, 3, 2, 2, 2, 2, 3
    assert len(figures) == first + spectra + gaps + structure + channels + samples + lowpass + transfer + responses
    assert all(figure["role"] == "img" and len(figure["aria-label"]) > 20 for figure in figures)
    assert all(picture["alt"] for picture in elements.named("img"))
    ids = [attributes["id"] for _, attributes in elements.all if "id" in attributes]
    assert len(set(ids)) == len(ids)
    anchors = [attributes["href"][1:] for attributes in elements.named("a") if "download" not in attributes]
    used = [attributes["xlink:href"][1:] for attributes in elements.named("use")]
    assert used
    assert set(used) | set(anchors) <= set(ids)


def test_render_titles_every_point(analyses, page):
    for drawing in re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL):
        titles = re.findall(r"<circle [^>]*><title>([^<]+)</title>", drawing)
        assert len(titles) >= 4
    best = analyses[1].view("mean").match("scale_free")
    assert f"second\nbest delta {fixed(best.best_delta, 2)}: {number(best.best_gap)} nats" in page


def test_curves_overlay_points_on_their_line(page):
    drawing = next(d for d in re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL) if "Aligned less decoded" in d)
    circles = {(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawing)}
    drawn = {(float(x), float(y)) for x, y in re.findall(r'<use xlink:href="#\w+" x="([\d.]+)" y="([\d.]+)"', drawing)}
    assert len(circles) == 4
    assert all(min(math.dist(circle, other) for other in drawn) < 0.2 for circle in circles)


def test_render_embeds_shared_pictures_once(analyses, page):
    shown = [picture.png for picture in analyses[0].pictures if not picture.decoded]
    assert len(shown) == 2 * 4
    assert all(page.count(f",{png}") == shown.count(png) for png in shown)
    assert all(page.count(f",{p.png}") == 1 for p in analyses[0].latent_pictures)
    assert len(page) < 1_500_000


def test_render_shows_findings_with_evidence_and_advice(analyses, page):
    for finding in analyses[0].findings:
        assert re.search(
            rf'<li class="{finding.level}">\s*<span class="level"><span aria-hidden="true">.</span>{finding.level}<',
            page,
        )
        assert f'<p class="verdict">{finding.verdict}</p>' in page
        assert f'<p class="evidence">{finding.evidence}</p>' in page
    assert page.count("<em>Try:</em>") == sum(bool(finding.command) for finding in analyses[0].findings)
    assert "No single number here is a calibrated score of diffusability" in page


def metric_rows(page):
    """Text of each row of the table of metrics, by key."""
    (table,) = re.findall(r'<table class="metrics">.*?</table>', page, flags=re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", table, flags=re.DOTALL)[1:]
    return {re.search(r"<code>(\w+)</code>", row)[1]: " ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows}


def test_metric_rows_follow_the_catalogue_with_doubtful_metrics_last(analyses, page):
    rows = metric_rows(page)
    shown = [key for key in METRICS if key not in {"viv", *OF_FEW}]
    assert list(rows) == [key for doubt in (False, True) for key in shown if bool(METRICS[key].doubt) == doubt]
    assert page.count("across families its interval holds zero") >= 3
    for key, row in rows.items():
        assert METRICS[key].title.lower()[1:] in row.lower().replace("&#39;", "'")
        if METRICS[key].one_sided:
            assert "one-sided" in row
            assert "PSNR 27.41 dB" in row
            assert "PSNR 24.80 dB" in row
    assert "white noise: 0.867" in rows["sec_25"]
    assert f"{analyses[0].measurement('sec_25').value:.3f} ± 0.004" in rows["sec_25"]
    refused = re.search(r'<dl class="refusals">(.*?)</dl>', page, flags=re.DOTALL)[1]
    assert "<dt>needs 3 · 16 · 16 / 8 images or more, and there are 64</dt>" in refused
    assert METRICS["viv"].title.lower()[1:] in refused.lower()
    assert "posterior samples" in rows["sec_25"]
    assert "posterior samples" not in rows["psnr"]


def test_tables_call_latents_as_the_verdict_does():
    stochastic, without = synthetic(), synthetic(stochastic=False)
    for table_of in (tables.latent_table, tables.gap_table, tables.normalisation_table):
        both, alone = ([cells[0].value for _, cells in table_of([each]).rows] for each in (stochastic, without))
        assert set(both) <= set(KINDS.values())
        assert "posterior samples" in both
        assert set(alone) == {"latents"}


def test_metric_rows_show_unknown_metrics_by_key():
    whole = synthetic()
    view = replace(whole.views[0], measurements={"of_another_version": Measurement(-12.5)})
    row = rows_of_metrics.metric_rows([replace(whole, views=(view,))])[-1]
    assert (row.metric.key, row.values[0][0].value) == ("of_another_version", "−12.5")


def test_comparability_warns_of_each_difference():
    first, second = synthetic("A"), synthetic("B")
    assert comparability([first, second]) == []
    changed = {
        "Latent shapes": replace(second, latent_shape=(16, 8, 8)),
        "Images": replace(second, sample=replace(second.sample, digest="0" * 16)),
        "Numbers of images": replace(second, sample=replace(second.sample, coverage=Coverage(128, 512, 9, 10))),
        "Image sizes": replace(second, sample=replace(second.sample, size=128)),
        "Splits": replace(second, sample=replace(second.sample, split="train")),
        "Precisions": replace(second, provenance=replace(second.provenance, dtype="bfloat16")),
        "Protocols of generation without training": replace(
            second, generative=replace(second.generative, coverage=Coverage(30, 512, 9, 10))
        ),
    }
    for what, other in changed.items():
        (warning,) = comparability([first, other, replace(first, subject=replace(first.subject, name="C"))])
        assert warning.startswith(f"{what} differ: ")
        assert "(A, C); " in warning
        assert "(B). " in warning
    assert comparability([first, replace(second, generative=None)]) == []


def test_shared_findings_are_said_once_with_the_evidence_of_each():
    one = synthetic("a")
    first, second, *rest = one.findings
    other = replace(synthetic("b"), findings=(replace(first, evidence="Best delta 0.4.", command="other"), *rest))
    shared = shared_findings([one, other])
    assert [said.finding.key for said in shared] == [first.key, *(finding.key for finding in rest)]
    assert shared[0].evidence == ["a: Best delta 0.31.", "b: Best delta 0.4."]
    assert shared[0].commands == [("a", first.command), ("b", "other")]
    assert shared[1].evidence == [rest[0].evidence]
    assert [said.finding for said in own_findings(one, shared)] == [second]
    assert own_findings(other, shared) == []
    assert shared_findings([one]) == []
    assert render([one, other]).count(f">{first.verdict}</p>") == 1
    differs = replace(other, findings=tuple(replace(finding, advice="Other.") for finding in other.findings))
    assert shared_findings([one, differs]) == []


@pytest.mark.slow
def test_render_shows_comparability_warnings(page):
    assert "Not directly comparable" not in page
    others = [PARTIAL["latents alone"], replace(PARTIAL["latents alone"], latent_shape=(4, 8, 8))]
    (warning,) = comparability(others)
    assert warning in render(others)


WHOLE = synthetic("whole")
NO_IMAGES = replace(WHOLE.sample, size=0, source="", digest="")
BARE_VIEW = replace(WHOLE.views[0], matches=(), block_dct=())
CACHED = replace(WHOLE.subject, kind="cached latents (REPA)", factor=0, parameters=0, digest="", stochastic=False)
PARTIAL = {
    "latents alone": replace(
        WHOLE,
        subject=CACHED,
        sample=NO_IMAGES,
        image=None,
        image_on_latent_grid=None,
        image_block_dct=(),
        views=(BARE_VIEW,),
        equivariance=(),
        decoding=None,
        pictures=(),
        latent_pictures=(),
        findings=(),
        notes=(),
    ),
    "latents beside images": replace(
        WHOLE,
        subject=CACHED,
        equivariance=(),
        decoding=None,
        pictures=tuple(p for p in WHOLE.pictures if not p.decoded and p.keep == 15),
    ),
    "no low-pass, no samples": replace(
        WHOLE, views=WHOLE.views[:1], decoding=replace(WHOLE.decoding, lowpass=(), lowpass_block=1, transfer=None)
    ),
    "no noise, one channel": replace(
        WHOLE,
        views=tuple(replace(v, channels=v.channels[:1], eigenvalues=(1.0,)) for v in WHOLE.views),
        decoding=replace(WHOLE.decoding, noise=()),
        equivariance=(),
        latent_pictures=(),
    ),
    "all refused": replace(
        WHOLE,
        decoding=replace(WHOLE.decoding, measurements={"psnr": Measurement(None, refused="not finite")}),
        views=(replace(WHOLE.views[0], measurements={"sec_25": Measurement(None, refused="one image")}),),
        pictures=(),
    ),
}
OF_DECODING = ["low-passed latents</h2>", "Transfer between bands", "Output after noise", "low-pass gap", "PSNR 27"]
OF_IMAGES = ["How flattened", "images’ own exponent", "Gap to the images", "divided by the images"]
ABSENT = {
    "latents alone": [*OF_DECODING, *OF_IMAGES, "Pictures</h2>", "Block-DCT profile</figcaption>"],
    "latents beside images": [*OF_DECODING, "Equivariance error by transform", "decoded from latents"],
    "no low-pass, no samples": [
        *OF_DECODING[:2],
        "low-pass gap",
        "Posterior means and samples",
        'label">posterior samples',
    ],
    "no noise, one channel": [OF_DECODING[2], "Response to noise", "Variance by direction", "false colour"],
    "all refused": ["PSNR 27", "decoded from latents"],
}


@pytest.fixture(scope="module")
def whole_page():
    return render([WHOLE])


def require_links(page):
    elements = Elements(page)
    ids = {attributes["id"] for _, attributes in elements.all if "id" in attributes}
    assert {attributes["href"][1:] for attributes in elements.named("a") if "download" not in attributes} <= ids


@pytest.mark.slow
@pytest.mark.parametrize("what", PARTIAL)
def test_render_leaves_out_what_was_not_measured(what, whole_page):
    page = render([PARTIAL[what]])
    for text in ABSENT[what]:
        assert text not in page, text
        assert text in whole_page, text
    require_links(page)
    assert not re.findall(r">\s*(None|nan)\s*<", page)


@pytest.mark.slow
def test_render_mixes_partial_and_complete_analyses():
    page = render([*PARTIAL.values(), WHOLE])
    require_links(page)
    for texts in ABSENT.values():
        assert all(text in page for text in texts)
    assert "1 × 1" not in page
    assert "refused: one image" in page


def without_band(values, band=3):
    return (*values[:band], 0.0, *values[band + 1 :])


def test_render_leaves_gaps_for_bands_without_power():
    def view(before):
        channels = tuple(replace(channel, power=without_band(channel.power)) for channel in before.channels)
        matches = tuple(replace(m, targets=tuple(map(without_band, m.targets))) for m in before.matches)
        spectrum = replace(before.spectrum, power=without_band(before.spectrum.power))
        return replace(before, channels=channels, spectrum=spectrum, matches=matches)

    image = replace(WHOLE.image, power=without_band(WHOLE.image.power))
    page = render([replace(WHOLE, views=tuple(map(view, WHOLE.views)), image=image)])
    for channel in range(len(WHOLE.views[0].channels)):
        assert page.count(f"<title>channel {channel}\n") == len(WHOLE.image.frequencies) - 1
    assert NOTHING not in page


def test_render_says_where_nothing_can_be_drawn():
    dark = replace(WHOLE.views[0].spectrum, power=(0.0,) * 15, exponent=Measurement(None, refused="no power"))
    dead = tuple(replace(channel, power=(0.0,) * 15, state="dead") for channel in WHOLE.views[0].channels)
    view = replace(BARE_VIEW, spectrum=dark, channels=dead, eigenvalues=(0.0, 0.0), cosine_by_distance=(1.0,))
    page = render([replace(WHOLE, views=(view,), image=dark, image_on_latent_grid=dark)])
    assert page.count(NOTHING) == 6  # first screen, images, latents, similarity, directions, channels


def test_render_names_files_in_utf8():
    sample = replace(WHOLE.sample, bad_files=("caf\udce9.png: not an image", "\x1b[31m.png: empty"))
    page = render([replace(WHOLE, sample=sample)])
    assert r"caf\xe9.png: not an image" in page
    assert r"\x1b[31m.png: empty" in page
    page.encode()


def test_render_without_findings():
    assert "allow no verdict" in render([PARTIAL["latents alone"]])


def test_summary_table_has_sort_keys(analyses):
    (_, *columns), rows = summary_table(analyses)
    assert [index for index, _ in rows] == [0, 1]
    for _, (_, *cells) in rows:
        assert len(cells) == len(columns)
        assert all(isinstance(cell.value, str) and isinstance(cell.key, float) for cell in cells)
    assert columns[0].title == "PSNR"
    assert next(column for column in columns if column.title == "SEC").one_sided


def test_best_marks_ends_of_the_range(analyses):
    match = analyses[0].view("mean").match("scale_free")
    assert [best(replace(match, best_delta=delta)) for delta in (-0.5, -0.49, 2.5)] == ["≤ −0.50", "−0.49", "≥ 2.50"]
    deltas = replace(match, best_delta=-0.48, best_delta_interval=(-0.5, -0.4)), replace(match, best_delta=2.5)
    views = (replace(analyses[0].view("mean"), matches=deltas),)
    cells = [cells[-2] for _, cells in tables.gap_table([replace(analyses[0], views=views)]).rows]
    assert [(cell.value, cell.spread) for cell in cells] == [("−0.48", "≤ −0.50 … −0.40"), ("≥ 2.50", "")]


def test_gap_curves_say_that_a_best_delta_is_the_end_of_the_search(analyses):
    view = analyses[0].view("mean")
    ends = tuple(replace(match, best_delta=-0.5) for match in view.matches)
    for panel in gap_curves([replace(analyses[0], views=(replace(view, matches=ends),))]):
        assert "best delta ≤ −0.50: " in panel.svg
        assert "best delta −0.5" not in panel.svg


def test_notes_name_their_autoencoders():
    first, second = (replace(synthetic(n), notes=("of both", *own)) for n, own in (("a", ()), ("second", ("own",))))
    assert notes([first, second]) == ["of both", "second: own"]


def test_render_refuses_no_analysis():
    with pytest.raises(ValueError, match="no analysis"):
        render([])


def test_number_keeps_significant_digits():
    written = [number(value) for value in (0.0, 0.43217, -27.416, 1234.5, 1e-7, -2.5e8, 0.00999)]
    assert written == ["0", "0.432", "−27.4", "1,234", "1.0·10⁻⁷", "−2.5·10⁸", "0.00999"]
    assert [fixed(value, 2) for value in (-0.001, -0.01, 12345.678)] == ["0.00", "−0.01", "12,345.68"]
    assert [decimals(0.43, error) for error in (0.0046, 0.0123, 14.0, 3.0, None, 0.0)] == [3, 3, 0, 0, 3, 3]


def test_analysis_json_documents_every_field():
    text = (Path(__file__).parents[2] / "docs" / "analysis-json.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))
    records = [r for r in vars(module).values() if isinstance(r, type) and r.__module__ == module.__name__]
    assert len(records) > 15
    for record in records:
        named = re.findall(r"^\| `(\w+)` \|", sections[record.__name__], flags=re.MULTILINE)
        assert named == [field.name for field in fields(record)], record.__name__
    assert module.ANALYSES.format in text


OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.mark.slow
def test_render_fits_desk_and_phone(analyses, page, visit):
    tab = visit(page)
    assert tab.title().startswith("Latents: <i>first</i>")
    text = tab.locator("body").inner_text()
    assert tab.evaluate("[...document.images].filter(picture => !picture.naturalWidth).length") == 0
    for width in (1280, 800, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate(OVERFLOW) <= 0, width
    for analysis in analyses:
        assert analysis.subject.name in text
        assert analysis.subject.digest in text
        assert fixed(analysis.measurement("psnr").value, 2) in text


SCREENS = {(1400, 900): 1144, (390, 844): 358}
"""Sizes of the first screen, and the width of its content, in pixels."""


@pytest.mark.slow
@pytest.mark.parametrize("screen", SCREENS)
def test_render_answers_on_the_first_screen(whole_page, visit, screen):
    tab = visit(whole_page)
    tab.set_viewport_size(dict(zip(("width", "height"), screen, strict=True)))
    assert tab.locator(".answer").bounding_box()["width"] == SCREENS[screen]
    for part in (".said", ".drawing"):
        box = tab.locator(f".answer > {part}").bounding_box()
        assert box["y"] + box["height"] <= screen[1], part
    said = tab.locator(".answer").inner_text()
    assert WHOLE.findings[0].verdict in said
    assert WHOLE.findings[2].verdict in said  # it is wrong
    assert WHOLE.findings[1].verdict not in said  # it is neither first nor wrong
    for title, line in answers([WHOLE])[0].facts:
        assert title in said
        assert line.text in said
    assert tab.locator(".answer figure svg").bounding_box()["height"] > 200


@pytest.mark.slow
@pytest.mark.parametrize("screen", SCREENS)
def test_render_answers_on_two_on_the_first_screen(visit, screen):
    second = replace(WHOLE, subject=replace(WHOLE.subject, name="second"))
    tab = visit(render([WHOLE, second]))
    tab.set_viewport_size(dict(zip(("width", "height"), screen, strict=True)))
    box = tab.locator(".answer > .said").bounding_box()
    assert box["y"] + box["height"] <= screen[1]


@pytest.mark.slow
def test_render_explains_terms_on_hover_focus_and_touch(whole_page, visit):
    meaning = described(METRICS["psnr"])
    for options in ({}, {"has_touch": True, "is_mobile": True}):
        tab = visit(whole_page, **options)
        term, tip = tab.locator(".answer .term", has_text="PSNR"), tab.locator(".tip")
        assert term.get_attribute("aria-description") == meaning
        if options:
            term.tap()
            assert tip.inner_text() == meaning
            continue
        term.hover()
        assert tip.inner_text() == meaning
        tab.mouse.move(0, 0)
        assert not tip.is_visible()
        term.focus()
        assert tip.inner_text() == meaning
        box = tip.bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 1280
        term.press("Escape")
        assert not tip.is_visible()


def test_render_terms_are_explained_without_the_script(whole_page):
    meanings = [attributes["title"] for attributes in Elements(whole_page).named("abbr")]
    assert described(METRICS["psnr"]) in meanings
    assert WHOLE.findings[0].evidence in meanings


def test_terms_of_sentences_and_of_evidence_are_explained():
    text = "The spectrum of posterior samples differs from that of posterior means."
    assert [word for word, meaning in split_terms(text) if meaning] == [
        "spectrum",
        "posterior samples",
        "posterior means",
    ]
    evidence = with_findings(synthetic()).findings[0].evidence
    said, *meanings = explained(evidence).split("\n")
    assert said == evidence
    assert [meaning.partition(":")[0] for meaning in meanings] == ["Scale-free", "Gap"]
    assert "A nat is" in meanings[1]
    assert explained("Std 1.31.") == "Std 1.31."
    assert explained(evidence) in [a.get("title") for a in Elements(render([with_findings(synthetic())])).named("abbr")]


@pytest.mark.slow
def test_render_folds_the_table_of_metrics_until_it_is_asked_for(whole_page, visit):
    tab = visit(whole_page)
    table = tab.locator("table.metrics")
    assert not table.is_visible()
    tab.get_by_role("link", name="Every metric").click()
    table.wait_for(state="visible")  # the page hears of its new address a moment later
    assert table.is_visible()


def test_render_of_many_says_each_verdict_in_a_few_words():
    page = render([synthetic(name) for name in "abc"])
    (said,) = re.findall(r'<ul class="many".*?</ul>', page, flags=re.DOTALL)
    assert said.count("<li>") == said.count("spectrum steeper") == said.count("scale wrong") == 3
    assert "decoder aligned" not in said


def test_render_dark_and_light_schemes(page, visit):
    tab = visit(page)
    stroke = "getComputedStyle(document.querySelector('figure path[style*=\"--c0\"]')).stroke"
    colours = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        colours.append((tab.evaluate(stroke), tab.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert colours == [("rgb(194, 69, 45)", "rgb(254, 253, 251)"), ("rgb(240, 128, 106)", "rgb(23, 24, 26)")]


def after_scrolling(tab):
    """Wait until the page has handled a scroll, which hides the tooltip: its event comes with the next frame."""
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.slow
def test_render_shows_value_on_hover(analyses, page, visit):
    tab = visit(page)
    tip = tab.locator(".tip")
    assert not tip.is_visible()
    figure = tab.locator("figure", has_text="Scale-free variant")
    gaps = analyses[1].view("mean").match("scale_free").gaps
    point = figure.locator("circle").nth(len(DELTAS) + 1)  # the curve and the minimum of the first come before
    point.scroll_into_view_if_needed()
    after_scrolling(tab)
    box = point.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + box["height"] / 2 - 1)
    assert tip.inner_text() == f"second\ndelta −0.500: {number(gaps[0].value)} nats"
    tip_box = tip.bounding_box()
    assert tip_box["x"] >= 0
    assert tip_box["x"] + tip_box["width"] <= 1280
    tab.mouse.move(0, 0)
    assert not tip.is_visible()


def test_render_arrow_keys_walk_points(page, visit):
    tab = visit(page)
    figure = tab.locator("figure", has_text="Aligned less decoded")
    figure.focus()
    after_scrolling(tab)
    texts = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        figure.press(key)
        texts.append(tab.locator(".tip").inner_text().splitlines()[-1])
    assert texts[0] == texts[2] == "keep 15: 0 ± 0 dB"
    assert texts[1] == "keep 7: 4.00 ± 0.20 dB"
    figure.press("Escape")
    assert not tab.locator(".tip").is_visible()


def test_render_shows_value_on_tap(page, visit):
    tab = visit(page, has_touch=True, is_mobile=True)
    tab.set_viewport_size({"width": 390, "height": 800})
    drawing = tab.locator("figure", has_text="Equivariance error by transform").locator("svg")
    drawing.scroll_into_view_if_needed()
    after_scrolling(tab)
    box = drawing.locator("circle").first.bounding_box()
    tab.touchscreen.tap(box["x"] + 4, box["y"] + 4)
    assert "half size, area: 0.210 ± 0.0021" in tab.locator(".tip").inner_text()


def test_render_saves_each_drawing_and_its_numbers(analyses, page, visit, tmp_path):
    tab = visit(page, color_scheme="dark")
    drawing = tab.locator(".drawing", has_text="Scale-free variant")
    saved = {}
    for kind in ("SVG", "CSV"):
        with tab.expect_download() as download:
            drawing.locator(".save").get_by_text(kind).press("Enter")
        assert download.value.suggested_filename == f"flattening-scale_free_variant.{kind.lower()}"
        saved[kind] = Path(download.value.path()).read_text(encoding="utf-8")
    svg = ElementTree.fromstring(saved["SVG"])  # well-formed by itself
    assert "var(--" not in saved["SVG"]
    assert "stroke: #c2452d" in saved["SVG"]  # paper is light
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"delta", "gap in nats", "second"} <= set(texts)
    assert f"{float(svg.get('height')):g}" == svg.get("viewBox").split()[3]
    head, *rows = csv.reader(io.StringIO(saved["CSV"]))
    assert head == ["series", "delta", "gap in nats", "standard error"]
    gaps = analyses[1].view("mean").match("scale_free").gaps
    of_second = [row for row in rows if row[0] == "second"]
    assert len(of_second) == len(gaps) + 1  # and the minimum
    assert of_second[0] == ["second", "-0.5", f"{gaps[0].value:.7g}", f"{gaps[0].standard_error:.7g}"]


@pytest.mark.slow
def test_render_sorts_by_heading(visit):
    exponents = {"minus": 2.4, "plus": 0.9, "zero": 2.1, "ten": 1.5}
    analyses = [synthetic(name, exponent=e, psnr={"ten": 100.0}.get(name, 9.5 + e)) for name, e in exponents.items()]
    view = analyses[2].views[0]
    refused = view.measurements | {"sec_25": Measurement(None, refused="why")}
    analyses[2] = replace(analyses[2], views=(replace(view, measurements=refused), *analyses[2].views[1:]))
    decoding = {"lowpass": (), "noise": (), "transfer": None}
    bare = [replace(a, pictures=(), decoding=replace(a.decoding, **decoding)) for a in analyses]
    tab = visit(render(bare))
    table = tab.locator("table.sortable").first

    def order(title):
        head = table.locator("thead th", has_text=title).first
        head.get_by_role("button").press("Enter")
        names = [text[1:].strip() for text in table.locator("tbody th").all_inner_texts()]
        return head.get_attribute("aria-sort"), names

    written = list(exponents)
    assert order("best delta") == ("ascending", ["minus", "zero", "ten", "plus"])
    assert "−0.30" in table.locator("tbody tr").first.inner_text()
    assert order("best delta") == ("descending", ["plus", "ten", "zero", "minus"])
    assert order("best delta") == ("none", written)
    assert order("PSNR")[1] == ["plus", "zero", "minus", "ten"]  # 10.4, 11.6, 11.9, 100: not as text
    assert order("SEC")[1][-1] == order("SEC")[1][-1] == "zero"
    assert order("autoencoder")[1] == sorted(written)
    assert table.locator("[aria-sort=ascending]").count() == 1


@pytest.mark.slow
def test_channel_lists_sort_as_numbers(visit):
    many = synthetic("many", shape=(12, 16, 16), states=("live", "outlier", "dead"))
    tab = visit(render([replace(many, decoding=None, pictures=(), equivariance=())]))
    tab.get_by_text("many: 12 channels, 4 dead and 4 outliers").click()
    table = tab.locator(".channels table")
    table.get_by_role("button", name="kurtosis").click()
    states = table.locator("tbody td:nth-child(2)").all_inner_texts()
    assert states[-4:] == ["✕ dead"] * 4
    table.get_by_role("button", name="channel").click()
    table.get_by_role("button", name="channel").click()
    assert table.locator("tbody tr").first.inner_text().startswith("11")


def test_render_prints_without_clipping(analyses, page, visit):
    tab = visit(page)
    tab.emulate_media(media="print")
    paper = 718  # A4 less its margins, in CSS pixels
    tab.set_viewport_size({"width": paper, "height": 1000})
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(OVERFLOW) <= 0
    beyond = f"[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > {paper} + 1)"
    assert tab.evaluate(f"{beyond}.map(e => e.outerHTML.slice(0, 80))") == []
    assert tab.locator("details:not([open])").count() == 0
    clipped = "[...document.querySelectorAll('.wide')].filter(e => getComputedStyle(e).overflowX !== 'visible')"
    assert tab.evaluate(f"{clipped}.length") == 0
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details[open]").count() == 0


def printed(analyses, width=300):
    output = io.StringIO()
    Console(file=output, width=width).print(*answer_lines(analyses), sep="\n")
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_answer_lines_are_ten_at_most_for_one_autoencoder():
    lines = printed([synthetic()])
    facts = dict(answers([synthetic()])[0].facts)
    measured = "Measured on 64 of 512 images, of 9 of 10 classes, from photographs (held out), at 64 × 64 pixels."
    assert lines == [
        f"first AutoencoderKL · f4 · latents 8 × 16 × 16 · PSNR {facts.pop('PSNR').text}",
        "The latents’ spectrum is steeper than the target.",
        NOT_SHOWN,
        "bad The declared scale does not match.",
        "warning Some channels are far from centred.",
        "Try: specmatch train-ae finetune256_esm --network.pretrained folder",
        *(f"{title} {line.text}" for title, line in facts.items()),
        f"{measured} 1 more finding in the report.",
    ]
    wrong = synthetic().findings[2]
    worse = replace(synthetic(), findings=(*synthetic().findings, *[wrong] * 5))
    assert len(printed([worse])) == len(lines) == 10
    assert printed([worse])[-1].endswith("6 more findings in the report.")


def test_answer_lines_say_what_all_have_in_common_once():
    both = [synthetic("a"), synthetic("b")]
    lines = printed(both)
    forecast = dict(answers(both)[0].facts)["forecast"].text
    assert lines.count(f"forecast {forecast}") == 1
    assert sum(line.endswith("PSNR 27.41 ± 0.00 dB") for line in lines) == 2


def test_answers_say_once_what_no_spectrum_has_shown():
    for analyses in ([synthetic()], [synthetic("a"), synthetic("b")], [synthetic(name) for name in "abc"]):
        assert printed(analyses).count(NOT_SHOWN) == 1
        assert render(analyses).count(f'<p class="open">{NOT_SHOWN}</p>') == 1
    of_latents_alone = [PARTIAL["latents alone"]]
    assert NOT_SHOWN not in printed(of_latents_alone)
    assert NOT_SHOWN not in render(of_latents_alone)


def test_answers_say_which_of_two_will_diffuse_better_in_one_line():
    def with_sec(name, sec):
        whole = synthetic(name, stochastic=False)
        measurements = whole.views[0].measurements | dict.fromkeys(("sec_25", "sec_50"), Measurement(sec, 0.001))
        return replace(whole, views=(replace(whole.views[0], measurements=measurements),), generative=None)

    both = [with_sec("before", 0.3), with_sec("after", 0.2)]
    (verdict,) = pair_verdicts(both)
    assert verdict.word == "better"
    assert printed(both, width=400).count(str(verdict)) == 1
    page = render(both)
    assert page.count('<p class="main pair">') == 1
    assert verdict.evidence in page
    many = printed([*both, with_sec("other", 0.4)])
    assert "ranked above before by a rule" in many[1]
    assert "ranked below before by a rule" in many[2]
    assert "than" not in many[0]


def test_answers_have_what_models_draw_without_training():
    facts = dict(answers([WHOLE])[0].facts)
    key = GENERATIVE_METRICS[0].metrics[0].key
    assert f"interpolation {fixed(WHOLE.generative.measurements[key].value, 3)} ±" in (facts["generation"].text)
    assert WHOLE.generative.reference in facts["generation"].evidence
    refused = dict.fromkeys(WHOLE.generative.measurements, Measurement(None, refused="too few images"))
    none = replace(WHOLE, generative=replace(WHOLE.generative, measurements=refused))
    assert dict(answers([none])[0].facts)["generation"].text == "none: too few images"
    assert "generation" not in dict(answers([replace(WHOLE, generative=None)])[0].facts)


def test_answer_lines_of_many_are_a_line_each():
    lines = printed([synthetic(name) for name in "abcd"])
    assert lines[0] == "a   spectrum steeper   scale wrong   off centre   PSNR 27.41 ± 0.00 dB"
    assert [line[:4] for line in lines[:4]] == ["a   ", "b   ", "c   ", "d   "]


def test_answer_lines_warn_of_each_difference_as_the_page_does():
    same, other = [synthetic("a"), synthetic("b")], [synthetic("a"), synthetic("b", shape=(4, 8, 8))]
    assert not any("comparable" in line for line in printed(same))
    (warning,) = comparability(other)
    for analyses in (other, [*other, *other]):  # whole sentences, and a few words of each
        assert [line for line in printed(analyses) if "comparable" in line] == [
            f"not directly comparable {line}" for line in comparability(analyses)
        ]
    assert f"not directly comparable {warning}" in printed(other)


def test_answer_lines_take_what_was_not_measured():
    lines = printed([PARTIAL["latents alone"]])
    assert "These measurements allow no verdict; the numbers are below." in lines
    assert lines[0].endswith("PSNR none: there is no decoder")
    assert printed([PARTIAL["all refused"]])[0].endswith("PSNR none: not finite")


def test_metric_rows_mark_the_ends_of_a_searched_range(analyses):
    mean, *samples = analyses[0].views
    measurements = {**mean.measurements, "best_delta": Measurement(-0.5, 0.004)}
    at_end = replace(analyses[0], views=(replace(mean, measurements=measurements), *samples))
    (row,) = [row for row in rows_of_metrics.metric_rows([at_end]) if row.metric.key == "best_delta"]
    assert (row.values[0][0].value, row.values[0][0].spread) == ("≤ −0.50", "")
