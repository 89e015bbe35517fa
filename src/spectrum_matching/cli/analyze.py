"""The command `specmatch analyze`: measure autoencoders and cached latents side by side, on the same images."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from tyro.conf import arg

from ..analysis.cached import analyze_latents, open_cached
from ..analysis.conditions import failures, read_conditions
from ..analysis.generative import check_reference
from ..analysis.measure import analyze
from ..analysis.options import N_REFERENCE, REFERENCE_NEEDS_FEATURES, open_options, open_reference_data
from ..analysis.own_metrics import keys_of, open_metrics
from ..data.images import Split
from ..data.selection import choose_images
from ..files.names import listed
from ..latents.open_latents import is_cached
from ..metrics.images.pixels import SSIM_WINDOW
from ..nets.autoencoder import Autoencoder, check_size
from ..records.analysis import ANALYSES, Analysis
from ..records.training_data import training_data
from ..report.analysis.beside import require_beside
from ..report.analysis.page import figure_sections, render
from ..report.saved import require_figures_folder, write_figures
from ..report.terminal import answer_lines, beside_table
from .names import chosen_device, named_sources
from .output import Callback, claims, print_document, print_results, progress_bars, write_page, write_results

log = logging.getLogger(__name__)

FILE = "analysis.json"


@claims("analysis.json", "report.html")
def analyze_all(
    autoencoders: Annotated[Sequence[str], arg(metavar="AUTOENCODER ...")],
    /,
    *,
    out: Path,
    data: str | None = None,
    size: int | None = None,
    num_images: int = 256,
    num_tests: int = 50,
    batch_size: int = 16,
    seed: int = 0,
    split: Split | None = None,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    tiling: bool = False,
    labels: bool = False,
    masks: Path | None = None,
    lpips: str | None = None,
    features: str | None = None,
    encoder: str | None = None,
    reference: str | None = None,
    num_reference: int = N_REFERENCE,
    all_readings: bool = False,
    metric: tuple[str, ...] = (),
    fail_on: tuple[str, ...] = (),
    figures: Path | None = None,
    beside: Literal["atlas"] | None = None,
    overwrite: bool = False,
) -> list[Analysis]:
    """Measure how easy latent spaces are to diffuse, on the same images; write analysis.json and report.html.

    For example:
        specmatch analyze stabilityai/sd-vae-ft-mse --data photos --out report
        specmatch analyze mine=runs/tiny latents:latents --data photos --out report
        specmatch analyze runs/tiny --out report --fail-on "psnr < 26" decoder-idle --quiet
        specmatch analyze runs/tiny --out report --metric python:mine.py:HALF_ENERGY

    Args:
        autoencoders: Folders in diffusers' format, hub names, LDM checkpoints (X.safetensors), python:FILE.py:FACTORY
            for your own class, or latents:FOLDER for cached latents; NAME=SOURCE sets the name shown.
        out: Folder for analysis.json and report.html.
        data: "embedded" (the default), a folder, parquet or tar path, URL, or (hub|stream):NAME[:SPLIT]. For cached
            latents, by default the images that the cache names, if any.
        size: Side of the square images in pixels; by default that of training, or 256.
        num_images: Number of images, spread over the split.
        num_tests: Number of these, spread over them, for tests that decode or encode again: low-pass, noise, transfer,
            equivariance.
        batch_size: Images per batch.
        seed: Seed of posterior samples, test noise and the bootstrap.
        split: Part of the data; by default what training on the same data held out, otherwise all.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
        dtype: Precision of the networks; metrics are computed in float32 or float64.
        tiling: Run networks in the tiles of their classes, one image at a time, so that large images fit; numbers
            change.
        labels: Add a linear probe, neighbours by class and irreducible variance by class; needs images with classes.
        masks: Folder of foreground masks with the names of the images; adds SRSS.
        lpips: Weights of LPIPS, a path or hub name; adds LPIPS.
        features: Extractor for rFID: inception:PATH, dinov2[:FOLDER], shufflenet:PATH, a TorchScript file, or
            python:FILE.py:FACTORY.
        encoder: Vision encoder for the gap of the latents to it: gradients[:CELL], shufflenet:PATH, a folder in
            transformers' format, or hub:OWNER/NAME.
        reference: Images as for --data, or latents:FOLDER of this autoencoder, that models without training are fitted
            to; adds the distances of what they generate, by --features.
        num_reference: Number of these, spread over them.
        all_readings: Add alternative readings of metrics, such as SEC at ρ = 0.5.
        metric: Add metrics of your own: python:FILE.py:NAME, a LatentMetric or a DecoderMetric.
        fail_on: Exit with status 1 if one holds, such as "best_delta > 1.3" "psnr < 26" decoder-idle.
        figures: Folder for the report's figures as PDF, and their numbers as CSV.
        beside: "atlas" puts the latent spaces that come with the package, as we analysed them, into a table with these.
        overwrite: Replace files of these names that specmatch did not write, in any folder.
    """
    if num_images < 2 or batch_size < 1 or num_tests < 2:
        got = f"{num_images}, {num_tests} and {batch_size}"
        raise ValueError(f"expected at least 2 images and 2 tests, in batches of at least 1; got {got}")
    if figures:
        require_figures_folder(figures)
    if reference and not features:
        raise ValueError(REFERENCE_NEEDS_FEATURES)
    metrics = open_metrics(metric)
    conditions = read_conditions(fail_on, [key for each in metrics for key in keys_of(each)])
    sources = named_sources(autoencoders)
    chosen = chosen_device(device)
    options = open_options(
        labels=labels,
        masks=masks,
        lpips=lpips,
        features=features,
        encoder=encoder,
        all_readings=all_readings,
        device=chosen,
    )
    cached = {name: open_cached(source, data, size) for name, source in sources.items() if is_cached(source)}
    opened = {name: source for name, source in sources.items() if not is_cached(source)}
    networks = {name: Autoencoder.from_pretrained(source, tiling=tiling) for name, source in opened.items()}
    if networks:
        trained = {name: training_data(sources[name]) for name in networks}
        images, notes = choose_images(trained, data or "embedded", size=size, split=split, labels=labels or None)
        if labels and not images.classes:
            raise ValueError(f"--labels: {images.source} has no classes; put its images into a folder for each class")
        for name, network in networks.items():
            check_size(name, network, images.size, SSIM_WINDOW)
    measured = [*(paired for _, paired in cached.values() if paired), *((images,) if networks else ())]
    if beside:
        require_beside({image_set.size for image_set in measured})
    if options.encoder:
        for image_set in measured:
            options.encoder.grid(image_set.size)
    if reference:
        if not networks:
            raise ValueError("--reference: cached latents have no decoder to generate by; name their autoencoder")
        options = replace(options, reference=open_reference_data(reference, images, num_reference))
        for name, network in networks.items():
            check_reference(name, network, images.size, options)
    common: dict[str, Any] = {"n_images": num_images, "batch_size": batch_size, "seed": seed}
    common |= {"options": options, "metrics": metrics}

    def measure(name: str, progress: Callback) -> Analysis:
        if name in cached:
            return analyze_latents(*cached[name], name=name, progress=progress, **common)
        analysis = analyze(
            networks[name],
            images,
            name=name,
            source=sources[name],
            split=images.choice.split,
            n_tests=num_tests,
            device=chosen,
            dtype=getattr(torch, dtype),
            notes=notes,
            progress=progress,
            **common,
        )
        networks[name].to("cpu")
        return analysis

    analyses: list[Analysis] = []
    with progress_bars(sources) as bars:
        for name in sources:
            try:
                analyses.append(measure(name, bars[name]))
            except ValueError as error:
                if not analyses:
                    raise
                write_numbers(analyses, out)
                done = listed(analysis.subject.name for analysis in analyses)
                why = f"{error} (the results for {done} are in {out})"
                with suppress(ValueError):  # the first error is the one to name
                    write_report(analyses, out)
                raise ValueError(why) from error
    for bad in dict.fromkeys(bad for analysis in analyses for bad in analysis.sample.bad_files):
        log.warning("skipped %s", bad)
    write_numbers(analyses, out)
    print_results(*answer_lines(analyses))
    if beside:
        print_results(beside_table(analyses))
    write_report(analyses, out, beside=bool(beside))
    print_results(str(out / "report.html"))
    if figures:
        write_figures(figures, figure_sections(analyses))
    if failed := failures(conditions, analyses):
        for line in failed:
            log.error("failed %s", line)
        raise SystemExit(1)
    return analyses


def write_numbers(analyses: list[Analysis], out: Path) -> None:
    """Write analysis.json into the folder `out`, and print it where JSON is asked for."""
    write_results(out, lambda folder: ANALYSES.write(folder / FILE, analyses))
    print_document(ANALYSES, analyses)


def write_report(analyses: list[Analysis], out: Path, *, beside: bool = False) -> None:
    """Write report.html into the folder `out`, beside the numbers; beside: with the atlas's rows."""
    write_page(out / "report.html", lambda: render(analyses, beside=beside), str(out / FILE))
