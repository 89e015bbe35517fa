"""The command `cite`: the papers that a run used, as BibTeX."""

from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ..files.run_folders import EXPORT, RUN
from ..files.yaml_files import override, read_mapping
from ..methods.zoo import METHODS, SPECTRUM_MATCHING
from ..records.papers import Paper, paper_of, papers
from ..training.autoencoder_config import AutoencoderRun
from ..training.diffusion_config import AlignmentChoice, DiffusionRun
from .output import print_json, print_results


def cite(runs: Annotated[Sequence[Path], arg(metavar="RUN ...")], /) -> None:
    """Print the papers that trainings used, as BibTeX: methods, networks, losses, alignment and samplers.

    The data, and autoencoders that were not trained here, have papers of their own.

    For example:
        specmatch cite runs/tiny runs/sit > papers.bib
        specmatch cite runs/compare/embedded

    Args:
        runs: Run directories of train-ae and train-diffusion, exports in them, or folders that hold some, such as that
            of a comparison.
    """
    if not runs:
        raise ValueError("nothing was given to cite: name run directories, or folders that hold some")
    used = {paper.key: paper for folder in runs for file in run_files(folder) for paper in papers_of(read_run(file))}
    print_json({key: paper.bibtex for key, paper in used.items()})
    print_results("\n\n".join(paper.bibtex for paper in used.values()))


def run_files(folder: Path) -> list[Path]:
    """Return the run.yaml of every training in a folder, at any depth; of an export, that of its run.

    Raises:
        ValueError: where there is none.
    """
    folder = folder.expanduser()
    files = sorted(folder.rglob(RUN))
    if not files and folder.resolve().name == EXPORT:
        files = [file for file in (folder.resolve().parent / RUN,) if file.is_file()]
    if not files:
        raise ValueError(f"{folder} holds no {RUN}: name a run directory of train-ae or train-diffusion")
    return files


def read_run(file: Path) -> AutoencoderRun | DiffusionRun:
    """Return the run in a run.yaml.

    Raises:
        ValueError: where it holds none.
    """
    content = read_mapping(file)
    return override(DiffusionRun() if "denoiser" in content else AutoencoderRun(), content, str(file))


def papers_of(run: AutoencoderRun | DiffusionRun) -> Iterator[Paper]:
    """Yield the papers of what a run used, ours first."""
    yield paper_of(SPECTRUM_MATCHING)
    known = papers()
    keys = _autoencoder_keys(run) if isinstance(run, AutoencoderRun) else _diffusion_keys(run)
    if isinstance(run, AutoencoderRun):
        make = METHODS[run.method.name]
        required = [name for name, each in signature(make).parameters.items() if each.default is each.empty]
        yield paper_of(make(**dict.fromkeys(required, 1)).citation)  # which its vision encoder does not change
    yield from (known[key] for key in keys)


def _autoencoder_keys(run: AutoencoderRun) -> Iterator[str]:
    if run.network.pretrained is None and run.distillation.teacher is None:
        yield "rombach2022high"  # the network, AutoencoderKL
    if run.losses.perceptual:
        yield "zhang2018unreasonable"
    if run.discriminator.weight:
        yield "isola2017image"
        if run.discriminator.adaptive:
            yield "esser2021taming"
    yield from _encoder_keys(run.method.vision[0] if run.method.vision else None)
    yield "loshchilov2019decoupled"


def _diffusion_keys(run: DiffusionRun) -> Iterator[str]:
    yield {"SiT": "ma2024sit", "UViT": "bao2023all"}[run.denoiser.name.partition("-")[0]]
    yield PATHS[run.objective.path]
    if run.objective.times in ("log_normal", "shifted"):
        yield "esser2024scaling"
    if run.objective.weighting == "min_snr":
        yield "hang2023efficient"
    if run.alignment.weight:
        yield from _alignment_keys(run.alignment)
    if run.preview.sampler in SAMPLERS:
        yield SAMPLERS[run.preview.sampler]
    if run.preview.guidance != 1:
        yield "ho2022classifier"
    yield "loshchilov2019decoupled"


def _alignment_keys(choice: AlignmentChoice) -> Iterator[str]:
    yield "yu2025representation"
    if choice.filter == "normalise" or choice.projector == "convolution":
        yield "singh2025what"
    yield from _encoder_keys(choice.encoder)


def _encoder_keys(encoder: str | None) -> Iterator[str]:
    if encoder is not None and "dinov2" in encoder:
        yield "oquab2023dinov2"


PATHS = {"linear": "liu2023flow", "cosine": "ma2024sit", "vp": "song2021score", "stable_diffusion": "rombach2022high"}
SAMPLERS = {"heun": "karras2022elucidating", "dpm_solver": "lu2022dpmsolver", "dpm_solver_3": "lu2022dpmsolver"}
