"""The command `presets`: what may be trained, compared, studied and sampled without a file, and with which settings."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from tyro.conf import arg

from ..comparison.plans import MAKE, NOT_RUN, PLANS, Plan
from ..files.yaml_files import nearest, to_yaml
from ..files.yaml_text import parse_yaml
from ..sampling.generate import PROTOCOLS, SamplingChoice
from ..studies.frequency_bias.plans import PLANS as STUDY_PLANS
from ..studies.frequency_bias.plans import FrequencyPlan
from ..training import autoencoder_config, diffusion_config
from ..training.autoencoder_config import FAMILIES, ROWS, AutoencoderRun
from ..training.diffusion_config import DiffusionRun
from .output import print_json, print_results

COMMANDS: dict[str, Mapping[str, Callable[[], Any]]] = {
    "train-ae": autoencoder_config.PRESETS,
    "train-diffusion": diffusion_config.PRESETS,
    "sample": {name: partial(lambda choice: choice, choice) for name, choice in PROTOCOLS.items()},
    "compare": PLANS,
    "study": {name: partial(lambda plan: plan, plan) for name, plan in STUDY_PLANS.items()},
}
"""What makes the settings of each preset, by command and name."""

HEADINGS = {
    "train-ae": "specmatch train-ae FAMILY_METHOD, such as tiny_dsm",
    "train-diffusion": "specmatch train-diffusion PRESET",
    "sample": "specmatch sample RUN --protocol PROTOCOL",
    "compare": "specmatch compare PLAN",
    "study": "specmatch study frequency-bias PLAN",
}


def presets(
    command: Annotated[str | None, arg(metavar="COMMAND")] = None,
    name: Annotated[str | None, arg(metavar="NAME")] = None,
    /,
) -> None:
    """List presets, plans and protocols, or print all settings of one.

    For example:
        specmatch presets
        specmatch presets train-ae
        specmatch presets train-ae finetune256_dsm

    Args:
        command: Only those of this command: train-ae, train-diffusion, sample, compare or study.
        name: Print the settings of this one, as --config reads them.
    """
    if command is not None and command not in COMMANDS:
        raise ValueError(f"{command!r} has no presets; {nearest(command, list(COMMANDS))}")
    if command is not None and name is not None:
        known = COMMANDS[command]
        if name not in known:
            raise ValueError(f"no preset {name!r} of {command}; {nearest(name, list(known))}")
        text = to_yaml(known[name](), brief=True)
        print_results(text.rstrip("\n"))
        print_json(parse_yaml(text))
        return
    chosen = [command] if command else list(COMMANDS)
    print_json({each: {name: summary(make()) for name, make in COMMANDS[each].items()} for each in chosen})
    blocks = [f"{HEADINGS[each]}\n{_aligned(lines(each))}" for each in chosen]
    print_results("\n\n".join(blocks), "\nspecmatch presets COMMAND NAME prints the settings of one.")


def lines(command: str) -> dict[str, str]:
    """Return what to say of each preset of a command; of `train-ae`, of each family and of each method."""
    if command == "train-ae":
        families = {f"{name}_…": summary(make()) for name, make in FAMILIES.items()}
        methods = {f"…_{name}": _first_line(autoencoder_config.METHODS[row.name]) for name, row in ROWS.items()}
        pairs = {f"{family}_{row}" for family in FAMILIES for row in ROWS}
        others = {name: summary(make()) for name, make in COMMANDS[command].items() if name not in pairs}
        return families | methods | {"…_esm_paper": "ESM with the loss of the paper's code"} | others
    if command == "compare":
        not_run = dict.fromkeys(NOT_RUN, "; not run yet")
        said = {name: _first_line(make).partition(":")[0] for name, make in MAKE.items()}
        return {name: f"{said[name]}: {summary(PLANS[name]())}{not_run.get(name, '')}" for name in PLANS}
    return {name: summary(make()) for name, make in COMMANDS[command].items()}


def summary(settings: Any) -> str:
    """Say in one line what settings amount to."""
    if isinstance(settings, AutoencoderRun):
        network = settings.network.pretrained or settings.network.preset
        data = settings.data
        return f"{network}, {settings.steps:,} updates of {settings.batch_size} images of {data.size} px ({data.path})"
    if isinstance(settings, DiffusionRun):
        said = f"{settings.denoiser.name}, {settings.steps:,} updates of {settings.batch_size} latents"
        source = settings.source.latents or settings.source.images
        said += f" ({source})" if source else ""
        return said + (f", aligned with {settings.alignment.encoder}" if settings.alignment.weight else "")
    if isinstance(settings, Plan):
        seeds = f"{len(settings.seeds)} seed{'s' * (len(settings.seeds) != 1)}"
        return f"{len(settings.entries)} methods x {seeds} on {settings.autoencoder.data.path}"
    if isinstance(settings, FrequencyPlan):
        return f"{len(settings.trials)} trainings of {settings.steps:,} updates on {settings.data}, {settings.size} px"
    assert isinstance(settings, SamplingChoice)
    guidance = f", guidance {settings.guidance:g}" if settings.guidance != 1 else ""
    return f"{settings.sampler}, {settings.steps} steps{guidance}"


def _first_line(function: Callable[..., Any]) -> str:
    """Return the first line of a function's docstring, as a phrase where it says what the function returns."""
    while isinstance(function, partial):
        function = function.func
    return (function.__doc__ or "").partition("\n")[0].rstrip(".").removeprefix("Return ")


def _aligned(said: Mapping[str, str]) -> str:
    width = max(map(len, said)) + 2
    return "\n".join(f"  {name:<{width}}{text}" for name, text in said.items())
