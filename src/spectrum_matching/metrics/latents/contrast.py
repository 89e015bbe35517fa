"""RMS spatial contrast of latents and its square, directional spectral energy."""

from dataclasses import replace

from ...records.measurement import Measurement
from ...spectrum.contrast import rmsc
from ..estimates import estimate_mean
from ..metric import IREPA, SPECTRUM_MATCHING, Metric
from .sweep import Collected, LatentMetric, LatentSweep, StandardisedBatch

RMSC = Metric(
    key="rmsc",
    title="RMS spatial contrast",
    unit="",
    better="neither",
    range="0 to 1; √(1 − 1/positions) for white noise, so noise is at the top",
    one_sided=False,
    source=f"{IREPA}; as directional energy {SPECTRUM_MATCHING}",
    evidence="|r| with gFID 0.89 over 27 encoders as alignment targets; says little of latents, which all sit near 1",
    conventions="raw latents, unit tokens of one position, square root taken",
)
DIRECTIONAL = replace(
    RMSC,
    key="directional_energy",
    title="directional spectral energy",
    range="0 to 1; 1 − 1/positions for white noise",
    source=SPECTRUM_MATCHING,
    conventions="raw latents, unit tokens of one position; power beyond DC, the square of the RMS spatial contrast",
)


def _collect(batch: StandardisedBatch) -> Collected:
    return Collected({"rmsc": rmsc(batch.raw)})


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    rows = sweep.rows("rmsc")
    return {"rmsc": estimate_mean(rows), "directional_energy": estimate_mean(rows.square())}


CONTRAST = LatentMetric((RMSC, DIRECTIONAL), _numbers, _collect)
