"""Terms of the first screen that explain themselves: a metric by its own record, other words by one sentence."""

import re
from functools import cache

from ...metrics.catalogue import GENERATIVE_METRICS, METRICS
from ...metrics.metric import Metric

OF_METRICS = {
    "PSNR": "psnr",
    "SEC": "sec_25",
    "spectral energy concentration": "sec_25",
    "delta": "best_delta",
    "interpolation FID": "interpolation_fid",
}
OTHERS = {
    "posterior samples": "Posterior samples: the encoder gives a mean and a variance for each latent value; a sample "
    "is one draw from these, on which diffusion models are often trained.",
    "posterior means": "Posterior means: the latents that the encoder gives for an image, without its noise.",
    "the target": "The target: the images’ spectrum on the latent grid, times f (delta 1), as shares of its sum. "
    "Spectrum matching trains latents towards it.",
    "spectrum": "Spectrum: mean power by spatial frequency of the latent maps, from coarse structure to fine detail.",
    "f¹": "f¹: the frequency itself. Images have about 1 / f² of power, so that the target has about 1 / f.",
    "Nyquist": "Nyquist: the highest frequency that a grid can hold along an axis, half a cycle per position.",
    "standard deviation": "Standard deviation of all latent values. Diffusion starts from noise of unit scale, so that "
    "latents should be of unit scale too.",
    "low-passed": "Low-passed: without the high frequencies of each block.",
    "gFID": "gFID: Fréchet distance of generated images to real ones. Lower is better.",
    "SiT": "SiT: a transformer that denoises latents (arXiv 2401.08740), in sizes B and XL.",
    "guidance": "Guidance: sampling with the difference of the predictions with and without the class.",
}

IN_EVIDENCE = {
    "scale-free": "Scale-free: unchanged when the latents are multiplied by any factor.",
    "nats": "Gap: Kullback–Leibler divergence of the latents’ shares of power by band from the target’s, 0 where they "
    "are equal. A nat is 1.44 bits.",
}
"""Words of evidence, which stands in tooltips: no other tooltip opens there."""


@cache
def glossary() -> dict[str, str]:
    """Return what each term means."""
    generative = {model_name(entry.metrics[0]): entry.metrics[0].key for entry in GENERATIVE_METRICS}
    return {term: described(METRICS[key]) for term, key in (OF_METRICS | generative).items()} | OTHERS


def model_name(metric: Metric) -> str:
    """Return what drew the images of a distance, "Gaussian" for "Fréchet distance of the Gaussian"."""
    return metric.title.replace("Fréchet distance of the ", "").replace(" Fréchet distance", "")


def described(metric: Metric) -> str:
    """Return the record of a metric in a few sentences."""
    unit = f", in {metric.unit}" if metric.unit else ""
    title = metric.title[0].upper() + metric.title[1:]
    return f"{title}{unit}: {metric.range}. {_sentence(metric.conventions)} Evidence: {_sentence(metric.evidence)}"


def split_terms(text: str) -> list[tuple[str, str]]:
    """Return a text in parts, each with its meaning where it is the first occurrence of a term, else with ""."""
    meanings, seen = glossary(), set[str]()
    words = "|".join(map(re.escape, sorted(meanings, key=len, reverse=True)))
    parts = []
    for part in re.split(rf"(?<![\w-])({words})(?![\w-])", text):
        parts.append((part, "" if part in seen else meanings.get(part, "")))
        seen |= {part} & meanings.keys()
    return [part for part in parts if part[0]]


def explained(evidence: str) -> str:
    """Return evidence and, below it, what its words mean."""
    meanings = [IN_EVIDENCE[word] for word in IN_EVIDENCE if re.search(rf"\b{word}\b", evidence, re.IGNORECASE)]
    return "\n".join([evidence, *meanings])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
