import base64
import dataclasses
import hashlib
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from html_of_tests import Elements
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.metrics.pooled import FAMILY_WISE, Difference, differences
from spectrum_matching.records.analysis import Provenance, Spectrum
from spectrum_matching.records.comparison import COMPARISON, Comparison, CurvePoint, Trial
from spectrum_matching.records.coverage import Coverage
from spectrum_matching.records.generative import Generative
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.records.scores import BandPower, Evaluation, Protocol, Sampling
from spectrum_matching.report.comparison.context import OF_A_TRIAL, chance, protocol_fields, reading, warnings
from spectrum_matching.report.comparison.page import render_comparison
from spectrum_matching.report.comparison.quantities import Quantity, main_quantities
from spectrum_matching.report.comparison.tables import (
    asides,
    comparison_markdown,
    legend,
    pairs,
    score_table,
    seed_table,
)
from spectrum_matching.report.digits import number

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
OWN = Provenance("0.3.0", "afc7f8e", "2.13.0", "0.42.0", "cpu", "float32", 0)
FREQUENCIES = tuple((i + 0.5) / 16 * math.sqrt(0.5) for i in range(1, 16))


def png(seed, side=24):
    """Noise as base64."""
    from PIL import Image

    pixels = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def spectrum(exponent):
    return Spectrum(FREQUENCIES, tuple(f**-exponent for f in FREQUENCIES), Measurement(exponent, 0.01))


def evaluation(kind, scores, blur=0.0, seed=0):
    """Scores by key, None for a refused one."""
    sampling = Sampling(
        denoiser=f"runs/{seed}/denoiser",
        denoiser_digest="0123456789abcdef",
        step=2000,
        averaged=True,
        autoencoder=f"runs/{seed}/autoencoder",
        autoencoder_digest="fedcba9876543210",
        path="linear",
        prediction="velocity",
        sampler="heun",
        steps=25,
        evaluations=50,
        guidance=1.0,
        guidance_interval=(0.0, 1.0),
        labels="balanced",
        n_images=2000,
        seed=seed,
        dtype="float32",
    )
    made = {
        key: Measurement(None, refused="needs 64 images or more, and there are 32")
        if value is None
        else Measurement(value, value * 0.03 / 1.96 if kind == "generation" else None)
        for key, value in scores.items()
    }
    bands = tuple(BandPower(f, 1.0, 1.1, -blur * f * 20) for f in FREQUENCIES) if blur else ()
    protocol = Protocol(2000, 10000, 32, "cifar10 test", "aa" * 8, "features.pt", "bb" * 8, "none", "256 levels", None)
    if kind == "generation":
        protocol = dataclasses.replace(
            protocol,
            sampling=sampling,
            images=Coverage(2000, 2000),
            kept_images=Coverage(2000, 2000),
            reference_images=Coverage(10_000, 50_000, 10, 10),
            kept_reference=Coverage(10_000, 10_000, 10, 10),
        )
    return Evaluation(f"{kind} {seed}", kind, made, bands, protocol, OWN, ())


def trial(method, seed, quality, **changes):
    """A trial whose numbers all follow from its quality: the greater the better."""
    shaken = quality + 0.11 * math.sin(7 * seed + 3 * len(method))
    scores = {
        "fid": 90 - 9 * shaken,
        "precision": 0.4 + 0.02 * shaken,
        "recall": 0.3 + 0.01 * shaken,
        "kid": 0.05 - 0.003 * shaken,
        "spectrum_error": 2.1 - 0.2 * shaken,
        "swd": 0.081 - 0.004 * shaken,
        "swd_scale_1": 0.09 - 0.004 * shaken,
    }
    numbers = {
        "psnr": 24 + 0.4 * math.cos(5 * shaken),
        "best_delta": 0.3 + 0.2 * shaken,
        "exponent": 1.9 - 0.2 * shaken,
        "gap_scale_free_1": 0.2 - 0.03 * shaken,
        "lowpass_gap": 3 - 0.4 * shaken,
        "sec_25": 0.3 + 0.05 * shaken,
        "noise_psnr": 31 + shaken,
        "lds": 0.4,
    }
    own = Trial(
        method=method,
        seed=seed,
        numbers=numbers,
        latent_spectrum=spectrum(1.9 - 0.2 * shaken),
        reconstruction=evaluation(
            "reconstruction", {"rfid": 20 - shaken, "psnr": 24.1, "rfid_lowpass_7": 40 - shaken}, 0.1
        ),
        generation=evaluation("generation", scores, 0.4 / (1 + quality), seed),
        curve=tuple(CurvePoint(s, 0.8 + math.exp(-s / 400) + 0.05 * shaken) for s in range(100, 2001, 100)),
        samples=png(seed + 17 * len(method)),
        seconds={
            "autoencoder": 310.2,
            "analysis": 12.1,
            "cache": 4.4,
            "diffusion": 402.0,
            "samples": 61.5,
            "scores": 9.9,
        },
        autoencoder_digest=f"{method} {seed}",
        denoiser_digest="0123456789abcdef",
    )
    return dataclasses.replace(own, **changes)


def comparison(trials, control="control", **changes):
    own = Comparison(
        name="cifar10-small",
        plan="name: cifar10-small\nseeds: [0, 1]\nmethods:\n- control\n- esm\n",
        control=control,
        command="specmatch compare plans/cifar10.yaml --out runs",
        n_parameters=(1_234_567, 3_400_000),
        image_spectrum=spectrum(2.1),
        images=png(99),
        trials=tuple(trials),
        provenance=OWN,
        notes=(
            "Small: 2,000 updates of 64 images at 32 × 32 pixels on two CPU cores, about a thousandth of the paper’s.",
            "Nothing here says what would hold at full size.",
        ),
    )
    return dataclasses.replace(own, **changes)


HOSTILE = "<i>ESM</i> & $x_1$ \"quoted\" {x} | </script><script>document.title='owned'</script>"
SMALL = comparison(
    trial(method, seed, quality)
    for method, quality in (("control", 0.0), ("SD-VAE", 0.13), (HOSTILE, 1.2))
    for seed in (0, 1)
)
MANY = comparison(trial(f"method {i} of a long list", seed, 0.02 * i) for i in range(13) for seed in (0, 1, 2))


@pytest.fixture(scope="module")
def page():
    return render_comparison(SMALL)


class Rows(HTMLParser):
    """Cells of the table of one class: (attributes, text) by row."""

    def __init__(self, page, name):
        super().__init__()
        self.rows, self._within, self._name = [], False, name
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self._within = self._name in dict(attributes)["class"].split()
        elif self._within and tag == "tr":
            self.rows.append([])
        elif self._within and tag in ("th", "td"):
            self.rows[-1].append((dict(attributes), []))

    def handle_endtag(self, tag):
        self._within = self._within and tag != "table"

    def handle_data(self, data):
        if self._within and self.rows and self.rows[-1]:
            self.rows[-1][-1][1].append(data)

    def texts(self):
        return [[" ".join("".join(parts).split()) for _, parts in row] for row in self.rows]


@pytest.mark.slow
def test_render_comparison_loads_nothing(page):
    elements = Elements(page)
    for tag, attributes in elements.all:
        assert tag not in {"iframe", "object", "embed", "form"}
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    outside_data = re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
    assert not re.findall(r"url\((?!#)|@import", outside_data)
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    policy = next(meta["content"] for meta in elements.named("meta") if "http-equiv" in meta)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy


@pytest.mark.slow
def test_render_comparison_is_reproducible_from_json(page, tmp_path):
    (tmp_path / "comparison.json").write_text(COMPARISON.to_json(SMALL))
    assert render_comparison(COMPARISON.read(tmp_path / "comparison.json")) == page


def test_render_comparison_escapes_html():
    own = evaluation("generation", {"fid": 3.0, "of_another_version" + HOSTILE: 1.0, "kid": None}, 0.1)
    own = dataclasses.replace(
        own,
        scores={key: dataclasses.replace(s, refused=s.refused and HOSTILE) for key, s in own.scores.items()},
        warnings=("warning " + HOSTILE,),
        protocol=dataclasses.replace(own.protocol, reference="reference " + HOSTILE),
    )
    page = render_comparison(
        comparison(
            [trial(HOSTILE, seed, 0.0, generation=own) for seed in (0, 1)],
            control="control " + HOSTILE,
            name="name " + HOSTILE,
            plan="plan " + HOSTILE,
            command="command " + HOSTILE,
            notes=("note " + HOSTILE,),
            images='"><script>',
        )
    )
    assert page.count("<script") == 1
    assert "<i>ESM" not in page
    for what in ("warning", "reference", "control", "name", "plan", "command", "note"):
        assert f"{what} &lt;i&gt;ESM" in page, what


def test_score_table_matches_records(page):
    head, *rows = Rows(page, "scores").rows
    keys = ["fid", "precision", "recall", "kid", "spectrum_error", "swd", "rfid"]
    keys += ["psnr", "exponent", "sec_25", "best_delta", "gap_scale_free_1", "lowpass_gap", "noise_psnr"]
    assert len(head) == 1 + len(keys)
    for method, row in zip(SMALL.methods, rows, strict=True):
        assert row[0][0]["data-text"] == method
        for key, (attributes, parts) in zip(keys, row[1:], strict=True):
            own = SMALL.of(method)
            if key in own[0].numbers:
                values = [each.numbers[key] for each in own]
            else:
                of = "reconstruction" if key == "rfid" else "generation"
                values = [getattr(each, of).value(key) for each in own]
            assert float(attributes["data-sort"]) == pytest.approx(sum(values) / 2, rel=1e-12)
            mean, half = re.findall(r"[\d.]+", "".join(parts).replace(",", ""))
            n_decimals = len(half.partition(".")[2])
            assert len(mean.partition(".")[2]) == n_decimals
            assert float(mean) == pytest.approx(sum(values) / 2, abs=0.51 * 10**-n_decimals)
            assert float(half) == pytest.approx(abs(values[0] - values[1]) / 2, abs=0.51 * 10**-n_decimals)
            told = [float(line.partition(": ")[2]) for line in attributes["title"].splitlines() if "seed" in line]
            assert told == pytest.approx(values, rel=1e-4)


def with_generative(own, gaussian):
    """A trial beside which models were measured that generate without training; one of them was refused."""
    numbers = {
        "gaussian_fid_reconstructions": Measurement(gaussian, 0.1),
        "white_fid_reconstructions": Measurement(4 * gaussian, 0.2),
        "solved_fid_reconstructions": Measurement(None, refused="latents of 256 channels are too wide to solve"),
        "fid_reconstructions_floor": Measurement(0.25),
    }
    record = Generative(numbers, "train", "cc" * 8, "sample", Coverage(40, 40), 20, 30, "features.pt", "bb" * 8, "none")
    shares = {
        "fid_reconstructions": Measurement(gaussian - 1, 0.1),
        "fid_reconstructions_floor": Measurement(0.25),
        "fid_reconstructions_normalised": Measurement((gaussian - 1.25) / (gaussian - 0.25), 0.03),
    }
    generation = dataclasses.replace(own.generation, scores={**own.generation.scores, **shares})
    return dataclasses.replace(own, generation=generation, generative=record)


def test_render_comparison_shows_generation_without_training_beside_the_trained_model(tmp_path):
    trials = [with_generative(trial(m, s, q), 5 + q + s) for m, q in (("control", 0.0), ("ESM", 1.0)) for s in (0, 1)]
    COMPARISON.write(tmp_path / "comparison.json", comparison(trials))
    own = COMPARISON.read(tmp_path / "comparison.json")
    page = render_comparison(own)
    table = score_table(own, main_quantities(own))
    titles = [column.title for column in table.columns]
    at = titles.index("Gaussian to reconstructions")
    assert titles[1:3] == ["Fréchet distance to reconstructions", "normalised distance"]
    assert (table.columns[at].group, table.columns[at + 1].title) == ("without training", "rFD")
    assert [cells[at].value for _, cells in table.rows] == ["5.5", "6.5"]
    others = [quantity.metric.key for quantity in main_quantities(own, others=True)]
    assert "white_fid_reconstructions" in others
    assert others.count("fid_reconstructions_floor") == 1
    assert "latents of 256 channels are too wide to solve" in page
    assert "solved_fid_reconstructions (generative)" in page


def test_marks_say_which_differences_from_the_control_are_decided(page):
    rows = Rows(page, "scores").texts()[1:]
    columns = {"fid": 1, "psnr": 8, "exponent": 9, "best_delta": 11}

    def marks(row, keys):
        return [re.findall(r"[▲▼=△▽]", row[columns[key]]) for key in keys]

    assert marks(rows[0], columns) == [[], [], [], []]
    assert marks(rows[1], columns) == [["="], ["="], ["="], ["="]]
    assert marks(rows[2], ["fid", "exponent", "best_delta"]) == [["▲"], ["▽"], ["△"]]
    (cells,) = [row for row in Rows(page, "scores").rows if row[0][0].get("data-text") == SMALL.methods[2]]
    groups = [[each.generation.value("fid") for each in SMALL.of(method)] for method in SMALL.methods]
    found = differences(groups, [(1, 0), (2, 0)])
    told = f"p = {number(found[2, 0].p, 2)}\ndetectable difference: {number(found[2, 0].detectable, 2)}"
    assert cells[1][0]["title"].endswith(f"against the control: {told}")
    power = (
        f"Detectable with 80% power, if seeds vary as here: differences of {number(found[1, 0].detectable, 2)} and more"
    )
    assert f"= undecided: {SMALL.methods[1]}. {power}" in reading(SMALL)[1]


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ("lower", ("better", "worse")),
        ("higher", ("worse", "better")),
        ("target", ("lower", "higher")),
        ("neither", ("lower", "higher")),
    ],
)
def test_quantity_mark_follows_the_direction_of_the_metric(better, words):
    quantity = Quantity("autoencoder", dataclasses.replace(METRICS["psnr"], better=better), "PSNR")
    assert tuple(quantity.mark(Difference(change, 0.01, 1.0)).word for change in (-1.0, 1.0)) == words
    assert quantity.mark(Difference(-1.0, FAMILY_WISE, 1.0)).word == "undecided"


def test_pairs_ranks_and_counts(page):
    found = pairs(SMALL)
    assert [row.method for row in found.rows] == [2, 1, 0]
    assert [row.counts for row in found.rows] == [(2, 0, 0), (0, 1, 1), (0, 1, 1)]
    assert (found.n_decided, found.n_pairs) == (2, 3)
    (headed, *rows) = Rows(page, "pairs").texts()
    assert len(headed) == 5 + 3
    assert [row[2:] for row in rows] == [
        ["2", "0", "0", "·", "▲", "▲"],
        ["0", "1", "1", "▼", "·", "="],
        ["0", "1", "1", "▼", "=", "·"],
    ]
    assert "2 of 3 pairs" in page
    assert "the probability that any is decided is at most 5%" in page


def test_comparison_markdown_matches_page(page):
    text = comparison_markdown(SMALL)
    images, autoencoders = text.split("\n\n")[:2]
    assert images.startswith("| method | Fréchet distance ↓ | precision ↑ (share) |")
    assert images.splitlines()[0].endswith("| rFD ↓ | PSNR ↑ (dB) |")
    assert autoencoders.startswith("| method | exponent | SEC (share) | best delta |")
    parts = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in part.splitlines()] for part in (images, autoencoders)]
    shown = [[text.replace(" ", "") for text in row[1:]] for row in Rows(page, "scores").texts()[1:]]
    for row, own, more in zip(shown, parts[0][2:], parts[1][2:], strict=True):
        assert own[0] == more[0]
        for on_page, written in zip(row, own[1:] + more[1:], strict=True):
            assert sorted(on_page) == sorted(written.replace(" ", ""))
    assert "<i>" not in text.replace("\\<", "")
    assert legend(SMALL) in text


def test_comparison_markdown_leaves_out_numbers_of_a_shared_autoencoder():
    shared = [dataclasses.replace(each, autoencoder_digest=f"seed {each.seed}") for each in SMALL.trials]
    text = comparison_markdown(dataclasses.replace(SMALL, trials=tuple(shared)))
    assert "Fréchet distance ↓" in text
    assert "PSNR" not in text
    assert "All rows of a seed share one autoencoder" in text
    assert "All rows" not in comparison_markdown(SMALL)


def test_numbers_of_latents_and_decoder_have_no_better_side():
    more = Difference(1.0, 0.01, 1.0)
    assert Quantity("autoencoder", METRICS["sec_25"], "SEC").mark(more).word == "higher"
    assert Quantity("autoencoder", METRICS["lowpass_gap"], "low-pass gap").mark(more).word == "higher"
    assert [Quantity("autoencoder", METRICS[key], key).mark(more).word for key in ("psnr", "ssim")] == ["better"] * 2


def test_tables_say_of_which_seeds_the_means_of_a_method_are():
    cells = [(name, seed) for name in ("control", "ESM") for seed in (0, 1, 2)][:-1]
    own = comparison([trial(name, seed, 0.0) for name, seed in cells])
    assert asides(own) == {"control": "the control", "ESM": "2 of 3 seeds"}
    assert "\n| control | " in comparison_markdown(own)
    assert "\n| ESM (2 of 3 seeds) | " in comparison_markdown(own)


def test_legend_says_where_some_methods_share_autoencoders():
    alone = comparison([trial(name, seed, seed) for name in ("control", "ESM") for seed in (0, 1)])
    digests = {"control": "a", "gain": "a", "ESM": "b"}
    shared = [
        trial(name, seed, seed, autoencoder_digest=f"{digest}{seed}")
        for name, digest in digests.items()
        for seed in (0, 1)
    ]
    assert "although some share autoencoders" in legend(comparison(shared))
    assert "although" not in legend(alone)


def test_comparison_is_paired_where_methods_share_the_autoencoders_of_two_seeds():
    def paired(*cells):
        return comparison([trial(name, seed, 0.0, autoencoder_digest=f"{seed}") for name, seed in cells]).is_paired

    assert paired(("control", 0), ("control", 1), ("other", 0), ("other", 1), ("third", 0))
    assert not paired(("control", 0), ("control", 1), ("other", 0), ("other", 2))
    assert not paired(("control", 0), ("control", 1), ("other", 2), ("other", 3))
    assert not paired(("control", 0), ("control", 1))
    assert not SMALL.is_paired


def test_numbers_of_a_shared_autoencoder_have_no_detectable_difference():
    shared = [
        dataclasses.replace(each, autoencoder_digest=f"{each.seed}", numbers={"psnr": 20.0 + each.seed})
        for each in SMALL.trials
    ]
    (quantity,) = [each for each in main_quantities(comparison(shared)) if each.metric.key == "psnr"]
    cell = score_table(comparison(shared), [quantity]).rows[1][1][0]
    assert cell.hint.endswith("p = 1.0")


def test_methods_that_share_autoencoders_are_compared_seed_by_seed():
    def shifted(own):
        scores = own.generation.scores
        fid = dataclasses.replace(scores["fid"], value=scores["fid"].value + 30 * own.seed)
        return dataclasses.replace(own, generation=dataclasses.replace(own.generation, scores=scores | {"fid": fid}))

    shared = [dataclasses.replace(each, autoencoder_digest=f"seed {each.seed}") for each in SMALL.trials]
    for trials in (shared, [shifted(each) for each in shared]):
        paired = dataclasses.replace(SMALL, trials=tuple(trials))
        assert reading(paired)[1][0] == f"▲ better: {SMALL.methods[2]}"
        assert "t tests paired by seed" in legend(paired)
        assert "t tests paired by seed" in chance(paired, pairs(paired))[0]
    apart = dataclasses.replace(SMALL, trials=tuple(shifted(each) for each in SMALL.trials))
    assert reading(apart)[1][0].startswith("= undecided")
    assert "paired" not in legend(apart)


def drawings(page):
    return re.findall(r"<figure role.*?</figure>", page, flags=re.DOTALL)


def test_render_comparison_figures_have_titles_and_tooltips(page):
    shown = drawings(page)
    assert [re.search(r"<figcaption>([^:<]*)", drawing)[1] for drawing in shown] == [
        *("PSNR", "best delta", "gap at delta 1", "low-pass gap", "rFD"),
        *("Latents beside the images", "Fréchet distance, lower is better"),
        *("Generated images", "Reconstructions", "Training loss"),
    ]
    for drawing in shown[:5]:
        assert drawing.count("<circle") == len(SMALL.trials)
        assert "n = 6" in drawing
    own = SMALL.of("SD-VAE")[1]
    assert f"SD-VAE, seed 1\nFréchet distance {number(own.generation.value('fid'), 4)}<" in shown[6]
    assert f"SD-VAE, seed 1\nPSNR {number(own.numbers['psnr'])}: Fréchet distance" in shown[0]
    ids = [attributes["id"] for _, attributes in Elements(page).all if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_render_comparison_shows_samples_of_all_trials(page):
    opened, folded = page.split("Samples of the other seeds")
    for own in SMALL.trials:
        assert page.count(own.samples) == 1
        assert own.samples in (opened if own.seed == 0 else folded)
    assert opened.index(SMALL.images) < opened.index(SMALL.trials[0].samples)
    assert all(picture["alt"] for picture in Elements(page).named("img"))


@pytest.mark.slow
def test_protocol_fields_flag_differences(page):
    assert not [field for field in protocol_fields(SMALL) if field.differs]
    names = {field.name for record in (Protocol, Sampling) for field in dataclasses.fields(record)}
    shown = names - {"sampling", "tile", *OF_A_TRIAL}  # no images were decoded in tiles
    assert len(protocol_fields(SMALL)) == len(shown) + 1  # n_images is of both
    first = SMALL.trials[0]
    sampling = dataclasses.replace(first.generation.protocol.sampling, steps=50)
    protocol = dataclasses.replace(first.generation.protocol, sampling=sampling)
    changed = dataclasses.replace(first, generation=dataclasses.replace(first.generation, protocol=protocol))
    other = dataclasses.replace(SMALL, trials=(changed, *SMALL.trials[1:]))
    (differing,) = [field for field in protocol_fields(other) if field.differs]
    assert differing.title == "steps"
    assert differing.generation.startswith("50 (control, seed 0); 25 (control, seed 1, ")
    changed_page = render_comparison(other)
    for text in ("▲ differs", "Before reading the numbers", "Protocols differ in steps: 50 (control, seed 0); 25 ("):
        assert text in changed_page
        assert text not in page


def test_warnings_that_differ_in_their_count_are_one():
    few = "images: Fréchet distances are comparable at this number alone"
    own = trial("control", 0, 0.0)
    generation = dataclasses.replace(own.generation, warnings=(f"4,096 {few}", "no images were bad"))
    reconstruction = dataclasses.replace(own.reconstruction, warnings=(f"2,048 {few}",))
    own = dataclasses.replace(own, generation=generation, reconstruction=reconstruction)
    assert warnings(comparison([own])) == [f"4,096 and 2,048 {few}", "no images were bad"]


FIRST = trial("control", 0, 0.0)
BARE = dataclasses.replace(
    FIRST,
    numbers={},
    generation=dataclasses.replace(FIRST.generation, scores={}, spectrum=()),
    reconstruction=dataclasses.replace(FIRST.reconstruction, scores={}, spectrum=()),
    curve=(),
    samples="",
    seconds={},
    latent_spectrum=Spectrum(FREQUENCIES, (0.0,) * len(FREQUENCIES), Measurement(0.0, 0.0)),
)
PARTIAL = {
    "one trial": [FIRST],
    "one seed": [FIRST, trial("other", 0, 1.0)],
    "one method": [FIRST, trial("control", 1, 0.0)],
    "nothing measured": [BARE, dataclasses.replace(BARE, method="other")],
    "refused": [
        trial(m, s, s, generation=evaluation("generation", {"fid": None, "swd": 0.1 + s})) for m in "ab" for s in (0, 1)
    ],
    "one seed refused": [
        trial("control", 0, 0.0, generation=evaluation("generation", {"fid": None})),
        *(trial("control", seed, 0.0) for seed in (1, 2)),
        *(trial("other", seed, 1.0) for seed in (0, 1, 2)),
    ],
    "seeds of some": [FIRST, trial("control", 1, 0.0), trial("other", 0, 1.0)],
}


@pytest.mark.slow
@pytest.mark.parametrize("what", PARTIAL)
def test_render_comparison_of_partial_results(what):
    page = render_comparison(comparison(PARTIAL[what]))
    elements = Elements(page)
    ids = {attributes["id"] for _, attributes in elements.all if "id" in attributes}
    assert {attributes["href"][1:] for attributes in elements.named("a") if "download" not in attributes} <= ids
    assert not re.findall(r">\s*(None|nan)\s*<", page)
    said = {
        "one trial": ["One seed each", "methods cannot be ordered"],
        "one seed": ["One seed each", "no order can be told"],
        "one method": ["methods cannot be ordered"],
        "nothing measured": ["No score of generated images"],
        "refused": ["By sliced Wasserstein, ", "needs 64 images or more"],
        "one seed refused": ["2 of 3 seeds", "needs 64 images or more", "control, seed 0"],
        "seeds of some": ["methods cannot be ordered"],
    }
    for text in said[what]:
        assert text in page, text
    *tables, _ = comparison_markdown(comparison(PARTIAL[what])).split("\n\n")
    n = len(comparison(PARTIAL[what]).methods)
    assert {len(table.splitlines()) - 2 for table in tables} == (set() if what == "nothing measured" else {n})


def test_render_comparison_without_control():
    page = render_comparison(dataclasses.replace(SMALL, control="elsewhere"))
    assert "There is no trial of the control, elsewhere" in page
    assert not any(re.search(r"[▲▼=△▽]", text) for row in Rows(page, "scores").texts()[1:] for text in row[1:])


def test_render_comparison_refuses_no_trials():
    with pytest.raises(ValueError, match="no trial"):
        render_comparison(comparison([]))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["small", "many"])
def test_render_comparison_fits_screens_and_paper(what, browser, tmp_path):
    requests, complaints = [], []
    path = tmp_path / "comparison.html"
    path.write_text(render_comparison({"small": SMALL, "many": MANY}[what]), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(path.as_uri())
    assert tab.evaluate("[...document.images].filter(picture => !picture.naturalWidth).length") == 0
    for width in (1280, 800, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, width
    table = tab.locator("table.scores")
    written = table.locator("tbody th").evaluate_all("heads => heads.map(head => head.dataset.text)")
    table.locator("thead th").nth(1).get_by_role("button").press("Enter")
    ordered = table.locator("tbody td:nth-child(2)").evaluate_all("cells => cells.map(cell => +cell.dataset.sort)")
    assert ordered == sorted(ordered)
    assert len(ordered) == len(written)
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open])").count() == 0
    beyond = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > 719)"
    assert tab.evaluate(f"{beyond}.map(e => e.outerHTML.slice(0, 80))") == []
    context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}


BROKEN = """table => {
  const broken = [];
  const texts = document.createTreeWalker(table.tHead, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode())
    for (const word of text.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((box) => box.top)).size > 1) broken.push(word[0]);
    }
  return broken;
}"""
"""Words of a table's head that stand on several lines."""


@pytest.mark.slow
def test_render_comparison_of_ten_methods_fits_a_desk_and_breaks_no_word(visit):
    kept = COMPARISON.read(RESULTS / "compare_cifar10.json")
    tab = visit(render_comparison(kept))
    tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for width in (1400, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        for name in ("scores", "quantities"):
            assert tab.locator(f"table.{name}").evaluate(BROKEN) == [], (name, width)
    tab.set_viewport_size({"width": 1400, "height": 900})
    assert len(kept.methods) == 10
    around = tab.locator(".wide:has(table.scores)")
    assert around.evaluate("each => each.scrollWidth - each.clientWidth") <= 0
    (sec,) = (head for head in tab.locator("table.scores thead th").all() if "SEC" in head.inner_text())
    assert len(sec.inner_text().split("\n")) <= 3
    tops = "head => new Set([...head.querySelectorAll('small')].flatMap(e => [...e.getClientRects()]).map(r => r.top))"
    assert sec.evaluate(f"head => ({tops})(head).size") == 1


def test_score_table_marks_the_ends_of_a_searched_range():
    deltas = {"control": (-0.5, -0.5), "some": (-0.5, -0.3), "none": (0.2, 0.4)}
    trials = []
    for method, values in deltas.items():
        for seed, value in enumerate(values):
            made = trial(method, seed, 1.0)
            trials.append(dataclasses.replace(made, numbers={**made.numbers, "best_delta": value}))
    own = dataclasses.replace(SMALL, trials=tuple(trials))
    (quantity,) = [each for each in main_quantities(own) if each.metric.key == "best_delta"]
    cells = [row[0] for _, row in score_table(own, [quantity]).rows]
    assert [(cell.value, cell.spread) for cell in cells] == [("≤ −0.50", ""), ("≤ −0.40", ""), ("0.30", "± 0.10")]
    assert cells[0].hint.startswith("seed 0: ≤ −0.50")
    values = [row[1].value for _, row in seed_table(own, [quantity]).rows]
    assert values == ["≤ −0.50", "≤ −0.50", "≤ −0.50", "−0.30", "0.20", "0.40"]
