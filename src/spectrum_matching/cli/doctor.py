"""The command `specmatch doctor`: is an autoencoder wired, loaded and declared as it was trained?"""

from collections.abc import Iterator
from typing import Annotated

from rich.text import Text
from tyro.conf import arg

from ..analysis.doctor.examination import side_of
from ..analysis.doctor.examine import examine
from ..data.selection import choose_images
from ..latents.open_latents import is_cached
from ..nets.autoencoder import Autoencoder
from ..nets.autoencoder.loading import load
from ..records.diagnosis import DIAGNOSIS, Diagnosis, Level, Outcome
from ..records.training_data import training_data
from .names import chosen_device, named_sources
from .output import print_document, print_results, progress_bar

STYLES: dict[Level, str] = {"fine": "green", "look": "yellow", "wrong": "red", "skipped": "dim"}


def doctor(
    autoencoder: Annotated[str, arg(metavar="AUTOENCODER")],
    /,
    *,
    data: str = "embedded",
    size: int | None = None,
    device: str = "auto",
    strict: bool = False,
) -> Diagnosis:
    """Check how an autoencoder is loaded, wired and declared, on six images; print findings with evidence and fix.

    Exits with status 0 if nothing is wrong, 1 if something is, 2 if the autoencoder or the images do not open.

    For example:
        specmatch doctor stabilityai/sd-vae-ft-mse
        specmatch doctor python:mine.py:factory --data photos
        specmatch doctor runs/tiny --strict --json > doctor.json

    Args:
        autoencoder: Folder in diffusers' format, run directory, hub name, LDM checkpoint (X.safetensors), or
            python:FILE.py:FACTORY; NAME=SOURCE sets the name shown.
        data: "embedded" (photographs that come with the package), a folder, parquet or tar path, URL, or
            (hub|stream):NAME[:SPLIT].
        size: Side of the images in pixels; by default at least 64, and 8 latent positions.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
        strict: Exit with status 1 also for what may be intended.
    """
    ((name, source),) = named_sources([autoencoder]).items()
    chosen = chosen_device(device)
    if is_cached(source):
        raise ValueError(f"{source} holds cached latents, and no network to examine: name their autoencoder")
    loaded = load(source, incomplete=True)
    model = Autoencoder(loaded.model, loaded.pipeline)
    trained = {name: training_data(source)}
    images, _ = choose_images(trained, data, size=size or side_of(model), split="all" if data != "embedded" else None)
    with progress_bar(name) as progress:
        diagnosis = examine(
            model,
            images,
            name=name,
            source=source,
            split=images.choice.split,
            missing=loaded.missing,
            unexpected=loaded.unexpected,
            device=chosen,
            progress=progress,
        )
    print_document(DIAGNOSIS, diagnosis)
    print_results(*lines(diagnosis))
    if diagnosis.of("wrong") or (strict and diagnosis.of("look")):
        raise SystemExit(1)
    return diagnosis


def lines(diagnosis: Diagnosis) -> Iterator[Text]:
    """Yield a line for each check, with what to do below it, and the sum of them."""
    subject, sample = diagnosis.subject, diagnosis.sample
    yield Text.assemble(
        (subject.name, "bold"),
        f" {subject.kind}, f{subject.factor}, {subject.channels} channels, {subject.parameters / 1e6:.1f} M weights; "
        f"{sample.n_images} images of {sample.size} pixels ({sample.source})",
    )
    for outcome in diagnosis.outcomes:
        yield from _lines(outcome)
    counts = {level: len(diagnosis.of(level)) for level in STYLES}
    yield Text(", ".join(f"{n} {level}" for level, n in counts.items()))


def _lines(outcome: Outcome) -> Iterator[Text]:
    found = outcome.level in ("look", "wrong")
    head = Text.assemble((f"{outcome.level:<8}", STYLES[outcome.level]), f"{outcome.check:<16}")
    style = "dim" if outcome.level == "skipped" else "bold" if found else ""
    yield Text.assemble(head, (outcome.verdict, style), "" if found else (f" {outcome.evidence}".rstrip(), "dim"))
    for what, text in (("", outcome.evidence), ("fix: ", outcome.fix)) if found else ():
        if text:
            yield Text(" " * 24 + what + text)
