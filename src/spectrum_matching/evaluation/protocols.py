"""Whether scores may stand in one table: what differs between their protocols, in words."""

import dataclasses
from collections.abc import Sequence

from ..scores import Evaluation, Protocol

# What a comparison is about may differ: whose images they are, and the random numbers behind them.
SUBJECT = {"denoiser", "denoiser_digest", "step", "autoencoder", "autoencoder_digest", "seed", "n_images"}
# A label beside the digest that says the same for certain.
LABELS = {"reference", "extractor", "sampling"}


def protocol_differences(evaluations: Sequence[Evaluation]) -> list[str]:
    """A line for each thing that differs, such as "steps: a 50, b 250"; empty where scores can be compared."""
    columns = [_settings(evaluation.protocol) for evaluation in evaluations]
    names = dict.fromkeys(name for column in columns for name in column)
    lines = []
    for name in names:
        values = [column.get(name, "unknown") for column in columns]
        if len(set(values)) > 1:
            said = ", ".join(f"{e.name} {value}" for e, value in zip(evaluations, values, strict=True))
            lines.append(f"{name.replace('_', ' ')}: {said}")
    return lines


def _settings(protocol: Protocol) -> dict[str, str]:
    own = {f.name: getattr(protocol, f.name) for f in dataclasses.fields(protocol) if f.name not in LABELS}
    if protocol.sampling is not None:
        sampling = protocol.sampling
        own |= {f.name: getattr(sampling, f.name) for f in dataclasses.fields(sampling) if f.name not in SUBJECT}
    return {name: str(value) for name, value in own.items()}
