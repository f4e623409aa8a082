"""Seeded synthetic families of learning curves, each with a difficulty of its own. Stand-ins: no model was trained.

A configuration has a true quality at each epoch; its answers on the selection examples come from it by a probit model
with a difficulty that all trials share, so that scores of two trials are as strongly paired as those of two adapters on
one frozen model.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from qrlora_search.adapters.simulated.curves import Curve, Curves
from qrlora_search.describe.configuration import MATRICES, Configuration
from qrlora_search.describe.proposals import canonical, dimensions
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.space import SearchSpace
from qrlora_search.values.packing import pack
from qrlora_search.values.states import Report

FAMILIES = ("steady", "crossing", "late", "noisy", "failures", "chance")
CONTROL = 0.72
DEPTH, WIDTH = 6, 384
ENCODER_PARAMETERS = 22_000_000
_SHARED, _OWN, _JITTER = 0.93, 0.055, 0.015
"""Shares of an answer's variance: the example's difficulty, the trial, and the epoch."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """True accuracies: final_C after the last epoch, quality_CE at each; fails_C the epoch of a failure or 0."""

    final_C: Floats
    quality_CE: Floats
    fails_C: NDArray[np.int64]


def synthetic_settings() -> tuple[SearchSpace, Settings]:
    """Returns the space of the families, and its settings over spectra that fall like those of attention matrices."""
    space = SearchSpace()
    spectra = {
        (layer, matrix): np.exp(-np.arange(WIDTH) / (50 + 6 * layer + 9 * place))
        for layer in range(DEPTH)
        for place, matrix in enumerate(MATRICES)
    }
    return space, Settings(dimensions(space, DEPTH), lambda one: canonical(space, one, spectra, DEPTH))


def make_family(name: str, seed: int, count: int = 150) -> Curves:
    """Returns `count` random configurations of a family with their whole curves; the same for the same seed."""
    random = np.random.default_rng([FAMILIES.index(name), seed])
    space, settings = synthetic_settings()
    configurations: dict[str, tuple[Configuration, Parameters]] = {}
    while len(configurations) < count:
        proposal = settings.draw(random)
        one = settings.canonical(proposal)
        configurations.setdefault(one.identity, (one, proposal))
    chosen = list(configurations.values())
    truth = _truth(name, [one for one, _ in chosen], space.training.epochs, random)
    n = 150 if name == "noisy" else 1000
    answers_CEN, control_N = _answers(truth.quality_CE, n, random)
    seconds = [1.0 + 0.2 * (DEPTH - (one.lowest_layer or 0)) for one, _ in chosen]
    curves = tuple(
        _curve(*chosen[place], _reports(answers_CEN[place], truth.quality_CE[place], seconds[place]), int(fails))
        for place, fails in enumerate(truth.fails_C)
    )
    control = _report(0, control_N, CONTROL, 0.0)
    facts = {"stand-in": True, "family": name, "seed": seed, "n": n}
    labels = pack(np.ones(n, dtype=np.int64))
    return Curves(f"{name} (stand-in)", "mean", ENCODER_PARAMETERS, labels, control, curves, facts)


def _curve(configuration: Configuration, proposal: Parameters, reports: tuple[Report, ...], fails_at: int) -> Curve:
    return Curve(configuration, proposal, reports[: fails_at - 1] if fails_at else reports, fails_at)


def _truth(name: str, chosen: list[Configuration], epochs: int, random: np.random.Generator) -> Truth:
    size = np.log10([1.0 + one.parameters for one in chosen])
    final = CONTROL + 0.12 * (1 - np.exp(-0.7 * size)) * _fit(chosen, random)
    final -= 0.03 * (random.random(len(chosen)) < 0.1)
    pace = random.uniform(0.5, 2.5, len(chosen))
    if name == "crossing":  # what rises fast ends low
        slow = random.random(len(chosen)) < 0.5
        pace = np.where(slow, 3.0, 0.4)
        final += np.where(slow, 0.02, -0.02)
    epoch = np.arange(1, epochs + 1)
    progress = -np.expm1(-epoch / pace[:, None]) / -np.expm1(-epochs / pace[:, None])
    if name == "late":  # a third rises after the last rung, and then highest
        late = random.random(len(chosen)) < 0.3
        rise = 1 / (1 + np.exp(-2.5 * (epoch - 3.2)))
        progress = np.where(late[:, None], rise / rise[-1], progress)
        final += 0.02 * late
    quality = CONTROL + (final - CONTROL)[:, None] * progress
    if name == "chance":  # most small trials answer at random
        quality[(size < 1.8) & (random.random(len(chosen)) < 0.7)] = 0.5
    fails = np.where(random.random(len(chosen)) < 0.1, random.integers(1, epochs + 1, len(chosen)), 0)
    return Truth(final, quality, fails if name == "failures" else np.zeros_like(fails))


def _fit(chosen: list[Configuration], random: np.random.Generator) -> Floats:
    """Returns how well each configuration fits a task drawn at random, from 0 to 1: its matrices, layers and rate."""
    value = dict(zip("qkvo", random.uniform(0.2, 1.0, 4), strict=True))
    depth = random.uniform(0.0, 1.0)
    rate = random.uniform(-2.6, -1.4)
    fits = []
    for one in chosen:
        weights = [rank.rank * value[rank.matrix] * (1 - depth * (1 - rank.layer / (DEPTH - 1))) for rank in one.ranks]
        away = math.log10(one.learning_rate) - rate
        fits.append(sum(weights) / sum(rank.rank for rank in one.ranks) * math.exp(-(away**2) / 0.8))
    return np.clip(np.array(fits) + random.normal(0, 0.08, len(chosen)), 0.0, 1.0)


def _answers(quality_CE: Floats, n: int, random: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns whether each answer is right, shape (C, E, N), and the control's, shape (N,)."""
    count, epochs = quality_CE.shape
    difficulty = math.sqrt(_SHARED) * random.normal(size=n)
    own = math.sqrt(_OWN) * random.normal(size=(count, 1, n))
    jitter = math.sqrt(_JITTER) * random.normal(size=(count, epochs, n))
    right = difficulty + own + jitter < norm.ppf(quality_CE)[:, :, None]
    control = difficulty + math.sqrt(_OWN + _JITTER) * random.normal(size=n) < norm.ppf(CONTROL)
    return right, control


def _reports(answers_EN: NDArray[np.bool_], quality_E: Floats, seconds: float) -> tuple[Report, ...]:
    pairs = zip(answers_EN, quality_E, strict=True)
    return tuple(_report(epoch, answers, float(quality), seconds) for epoch, (answers, quality) in enumerate(pairs, 1))


def _report(epoch: int, answers_N: NDArray[np.bool_], quality: float, seconds: float) -> Report:
    score = float(answers_N.mean())
    return Report(epoch, score, -math.log(quality), seconds, pack(answers_N.astype(np.int64)), {"accuracy": score})
