"""What does `analyze` say about five real latent spaces?

    python experiments/real_latents.py [--only SET]

Measures the tiny autoencoders of Stable Diffusion 1, SDXL, SD3, FLUX.1 and FLUX.2 (examples/) on Kodak's and BSDS500's
photographs in `data/`. Each analysis is kept in runs/real_latents, and a rerun does not measure it again. Writes the
numbers, beside those published for the originals (data/published), to experiments/results/five_latent_spaces.json, and
prints the tables of docs/five_latent_spaces.md. --only: measures one of `SETS` and writes nothing else.
"""

import argparse
import csv
import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from spectrum_matching.analysis import analyze
from spectrum_matching.analysis.conditions import measurements
from spectrum_matching.analysis.options import AnalysisOptions
from spectrum_matching.data import open_images
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.analysis import ANALYSES, Analysis

RESULT = Path(__file__).parent / "results" / "five_latent_spaces.json"
RUNS = Path("runs/real_latents")


class Space(NamedTuple):
    """source: the autoencoder. board, bench: the original's name in the two published tables."""

    source: str
    board: str
    bench: str


SPACES = {
    "SD": Space("python:examples/tae_family.py:taesd", "SD-VAE", "SD-VAE-EMA"),
    "SDXL": Space("python:examples/tae_family.py:taesdxl", "", "SDXL-VAE"),
    "SD3": Space("python:examples/tae_family.py:taesd3", "SD3-VAE", "SD3.5-VAE"),
    "FLUX.1": Space("python:examples/tae_family.py:taef1", "FLUX-VAE", "FLUX.1-VAE"),
    "FLUX.2": Space("python:examples/taef2_autoencoder.py:taef2", "FLUX2-VAE", "FLUX.2-VAE"),
}


class Images(NamedTuple):
    """A set of photographs at one size. n_tests: on so many of them the decoder is tested."""

    data: str
    size: int
    n_images: int
    n_tests: int


SETS = {"kodak_256": Images("data/kodak", 256, 24, 5), "bsds500_256": Images("data/bsds500/val", 256, 50, 3)}


def measured(name: str, space: str) -> Analysis:
    """Measure one space on one set of images, or read what was measured before."""
    file, chosen = RUNS / name / space / "analysis.json", SETS[name]
    if not file.exists():
        codec = Autoencoder.from_pretrained(SPACES[space].source)
        codec.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
        analysis = analyze(
            codec,
            open_images(chosen.data, chosen.size, split="all"),
            name=space,
            source=SPACES[space].source,
            n_images=chosen.n_images,
            n_tests=chosen.n_tests,
            batch_size=4,
            options=AnalysisOptions(all_readings=True),
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        ANALYSES.write(file, [analysis])
    return ANALYSES.read(file)[0]


def row(analysis: Analysis) -> dict[str, Any]:
    """Return every number of one, its spectrum beside the target, and the keys of its verdict."""
    view, decoding = analysis.view("mean"), analysis.decoding
    assert decoding
    assert analysis.image_on_latent_grid
    found = measurements(analysis)
    return {
        "autoencoder": analysis.subject.kind,
        "digest": analysis.subject.digest,
        "factor": analysis.subject.factor,
        "latent_shape": analysis.latent_shape,
        "n_images": analysis.sample.n_images,
        "n_tests": decoding.n_tests,
        "images": analysis.sample.digest,
        "commit": analysis.provenance.commit,
        "numbers": {
            key: {"value": number.value, "standard_error": number.standard_error}
            for key, number in found.items()
            if number.value is not None
        },
        "refused": {key: number.refused for key, number in found.items() if number.value is None},
        "channels": [
            {"mean": c.mean, "std": c.std, "kurtosis": c.kurtosis, "exponent": c.exponent} for c in view.channels
        ],
        "spectrum": {"frequencies": view.spectrum.frequencies, "power": view.spectrum.power},
        "image_exponent": analysis.image_on_latent_grid.exponent.value,
        "matches": {
            match.variant: {
                "frequencies": match.frequencies,
                "latent": match.latent,
                "target": match.target(1.0),
                "best_delta": match.best_delta,
                "best_delta_interval": match.best_delta_interval,
                "best_gap": match.best_gap,
            }
            for match in view.matches
        },
        "lowpass": [dataclasses.asdict(point) for point in decoding.lowpass],
        "noise": [dataclasses.asdict(point) for point in decoding.noise],
        "transfer": dataclasses.asdict(decoding.transfer) if decoding.transfer else None,
        "equivariance": [dataclasses.asdict(point) for point in analysis.equivariance],
        "findings": [finding.key for finding in analysis.findings],
    }


def published(folder: Path) -> dict[str, dict[str, float]]:
    """Return the numbers that were published for the originals, by space, from the folder's two tables."""
    tables = {}
    for file, name in (("gfid_by_tokenizer", "tokenizer"), ("diffusionbench", "space")):
        with (folder / f"{file}.csv").open() as lines:
            tables[file] = {line[name]: line for line in csv.DictReader(lines)}
    found = {}
    for space, names in SPACES.items():
        bench, board = tables["diffusionbench"][names.bench], tables["gfid_by_tokenizer"].get(names.board, {})
        found[space] = {"fid": float(bench["fid"]), "fid_cfg": float(bench["fid_cfg"])}
        keys = ("gfid_sit_b", "gfid_sit_xl", "sec_50", "psnr", "rfid", "probe_top1")
        found[space] |= {f"board_{key}": float(board[key]) for key in keys if board.get(key)}
    return found


COLUMNS = {
    "psnr": "PSNR, dB",
    "std": "latent std",
    "exponent": "exponent",
    "best_delta": "best delta",
    "gap_scale_free_1": "gap at delta 1, nats",
    "sec_25": "SEC 0.25",
    "sec_50": "SEC 0.5",
    "lds_4n_far6": "LDS",
    "cds_8": "CDS",
    "neighbour_correlation": "neighbour correlation",
    "participation_ratio": "participation ratio of channels",
    "lowpass_gap": "low-pass gap, dB",
    "transfer_diagonal": "stays in its band, share",
}


def table(document: dict[str, Any]) -> str:
    """Format the spaces side by side as Markdown: those of Kodak, with the published numbers below, then of BSDS500."""
    head = [f"| | {' | '.join(SPACES)} |", "|---" * (len(SPACES) + 1) + "|"]
    blocks = []
    for name in SETS:
        rows = document[name]
        lines = [f"| latents | {' | '.join(shape(rows[space]) for space in SPACES)} |"]
        lines += [
            f"| {title} | {' | '.join(cell(rows[space]['numbers'].get(key)) for space in SPACES)} |"
            for key, title in COLUMNS.items()
        ]
        lines.append(f"| verdict | {' | '.join(', '.join(rows[space]['findings']) for space in SPACES)} |")
        blocks.append("\n".join([*head, *lines]))
    return "\n\n".join(blocks)


def shape(found: dict[str, Any]) -> str:
    """Format the factor and the shape of latents."""
    return f"f{found['factor']}, {' × '.join(map(str, found['latent_shape']))}"


def cell(number: dict[str, float | None] | None) -> str:
    """Format a value ± its standard error."""
    if number is None:
        return "refused"
    value, error = number["value"], number["standard_error"]
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")


def main() -> None:
    """Measure, save and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SETS)
    only = parser.parse_args().only
    rows = {name: {space: row(measured(name, space)) for space in SPACES} for name in ([only] if only else SETS)}
    if only:
        return
    document = {
        "question": "real_latents",
        "command": "python experiments/real_latents.py",
        "torch": torch.__version__,
        "sets": {name: chosen._asdict() for name, chosen in SETS.items()},
        **rows,
        "published": published(Path("data/published")),
    }
    text = json.dumps(document)
    rounded = json.loads(text, parse_float=lambda digits: float(f"{float(digits):.6g}"))
    RESULT.write_text(json.dumps(rounded, separators=(",", ":")) + "\n")
    print(table(rounded))


if __name__ == "__main__":
    main()
