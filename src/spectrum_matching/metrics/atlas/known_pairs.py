"""Pairs of latent spaces of one shape whose order is known: published ones, and those that our comparison decides."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

from ...records.measurement import Measurement
from ..pooled import differences
from .forecast import MODELS
from .spaces import BOARD, OwnTrial, PublishedSpace, read_atlas

PUBLISHED_PAIRS = (("SD-VAE", "EQ-VAE"), ("SD-VAE", "REPAE-SDVAE"), ("IN-VAE", "VA-VAE"))
"""Rows of the iFID board before and after one change to one autoencoder."""

Word = Literal["better", "worse", "cannot say"]
Numbers = Mapping[str, Measurement]
Rule = Callable[[Numbers, Numbers], Word]
"""Says of the second of two latent spaces, from the numbers of both, whether it will diffuse better than the first."""


class KnownPair(NamedTuple):
    """The numbers of the worse and of the better of two, one entry a seed."""

    names: tuple[str, str]
    worse: tuple[Numbers, ...]
    better: tuple[Numbers, ...]


class Share(NamedTuple):
    """How many of n pairs a rule decides, saying the same of every seed, and how many of these rightly."""

    right: int
    decided: int
    n: int


def published_pairs() -> list[KnownPair]:
    """Return the published pairs; both models' FID without guidance orders them."""
    rows = {space.name: space for space in read_atlas().of(BOARD)}
    found = []
    for pair in PUBLISHED_PAIRS:
        worse, better = sorted(pair, key=lambda name: -rows[name].numbers[MODELS["SiT-B"]])
        found.append(KnownPair((worse, better), (_usable(rows[worse]),), (_usable(rows[better]),)))
    return found


def own_pairs(score: str) -> list[KnownPair]:
    """Return the pairs of methods of our comparison that a score, lower for the better, tells apart.

    By t tests at a family-wise error of 5 % over all pairs. Of methods that share an autoencoder the first counts.
    """
    methods: dict[str, list[OwnTrial]] = {}
    for trial in sorted(read_atlas().trials, key=lambda trial: trial.seed):
        if score in trial.scores:
            methods.setdefault(trial.method, []).append(trial)
    names = list(methods)
    groups = [[trial.scores[score] for trial in methods[name]] for name in names]
    firsts = {tuple(trial.autoencoder for trial in methods[name]): name for name in reversed(names)}
    pairs = combinations([i for i, name in enumerate(names) if name in firsts.values()], 2)
    found = []
    for (i, j), difference in differences(groups, pairs).items():
        if difference.word != "undecided":
            better, worse = (names[i], names[j]) if difference.word == "lower" else (names[j], names[i])
            sides = (tuple(_measured(trial.numbers) for trial in methods[name]) for name in (worse, better))
            found.append(KnownPair((worse, better), *sides))
    return found


def share(pairs: Sequence[KnownPair], rule: Rule) -> Share:
    """Return how a rule fares on pairs whose order is known."""
    said = [{rule(*numbers) for numbers in zip(pair.worse, pair.better, strict=True)} for pair in pairs]
    words = [words.pop() if len(words) == 1 else "cannot say" for words in said]
    return Share(words.count("better"), len(words) - words.count("cannot say"), len(words))


def lower_is_better(key: str) -> Rule:
    """Return the rule by the sign of one number alone."""

    def rule(first: Numbers, second: Numbers) -> Word:
        if key not in first or key not in second or float(first[key]) == float(second[key]):
            return "cannot say"
        return "better" if float(second[key]) < float(first[key]) else "worse"

    return rule


def _usable(space: PublishedSpace) -> Numbers:
    return _measured({key: value for key in space.numbers if (value := space.number(key)) is not None})


def _measured(numbers: Mapping[str, float]) -> Numbers:
    return {key: Measurement(value) for key, value in numbers.items()}
