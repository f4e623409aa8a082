"""What buys accuracy per parameter: which settings tell the front's neighbourhood, or a high score for the size, apart.

Over Finished trials alone, by the scores that the search saw.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qrlora_search.app.front_view import ImportanceView, SettingView
from qrlora_search.describe.configuration import MATRICES
from qrlora_search.describe.proposals import LEARNING_RATES
from qrlora_search.record.history import History
from qrlora_search.values.objectives import losses, size_axis
from qrlora_search.values.states import TrialState

LEAST = 30
"""Finished trials below which nothing is said."""
RESAMPLES = 100
SHUFFLES = 40
"""Of the results among the trials: a setting with many values gets a share by chance alone, which these tell."""
MOST = 200
"""Trials beyond which a seeded sample stands for all."""
RATES = {str(method): name.replace("_", " ") for method, name in LEARNING_RATES.items()}
LOGARITHMIC = tuple(dict.fromkeys(RATES.values()))
GROUPS = ("lower", "middle", "upper")


Row = Mapping[str, str | float]
"""The settings of a trial by name, those that it has."""


def importance_views(history: History) -> list[ImportanceView]:
    """Returns the importance for reaching the front, then for the score at a given size, with bootstrap intervals."""
    trials = [one for one in history.in_state(TrialState.FINISHED) if one.configuration.ranks]
    depth = history.plan.encoder.layers if history.plan is not None else 1
    rows = []
    for one in trials:
        what = one.configuration
        more: dict[str, str | float] = {"method": what.method, "batch size": float(what.batch_size), "head": what.head}
        places = [(rank.layer, rank.matrix) for rank in what.ranks]
        rows.append(settings_of(places, depth, one.proposal, what.method, what.learning_rate) | more)
    return views_over(rows, [one.score or 0.0 for one in trials], [one.configuration.parameters for one in trials])


def views_over(rows: Sequence[Row], scores: Sequence[float], sizes: Sequence[int]) -> list[ImportanceView]:
    """Returns the two importances over Finished trials: their settings, scores (higher is better) and parameters."""
    questions: tuple[Literal["front", "score at size"], ...] = ("front", "score at size")
    if len(rows) < LEAST:
        words = f"too few: {len(rows)} Finished trials with an adapter, {LEAST} are needed"
        return [ImportanceView(question=one, n=len(rows), settings=[], words=words) for one in questions]
    chosen = np.arange(len(rows))
    if len(rows) > MOST:
        chosen = np.sort(np.random.default_rng(0).choice(len(rows), MOST, replace=False))
    rows, score_N, size_N = [rows[int(place)] for place in chosen], np.array(scores)[chosen], np.array(sizes)[chosen]
    over = f"PED-ANOVA over {len(rows)} Finished trials with an adapter"
    both, residuals = losses(score_N, size_N), -residual(score_N, size_N)[:, None]
    return [
        ImportanceView(
            question="front",
            n=len(rows),
            settings=_settings(rows, both),
            words=f"importance for reaching the front, {over}",
        ),
        ImportanceView(
            question="score at size",
            n=len(rows),
            settings=_settings(rows, residuals),
            words=f"importance for a high score at a given size, {over}",
        ),
    ]


def settings_of(
    places: Sequence[tuple[int, str]], depth: int, proposal: Mapping[str, str | int | float], method: str, rate: float
) -> dict[str, str | float]:
    """Returns what is asked about of a trial: each matrix, the group of layers, tau or rank, the learning rate.

    places: the (layer, matrix) that it adapts, in an encoder of `depth` layers.
    """
    row: dict[str, str | float] = {
        f"W{kind}": "yes" if any(matrix == kind for _, matrix in places) else "no" for kind in MATRICES
    }
    row["layer group"] = layer_group({layer for layer, _ in places}, depth)
    row |= {name: float(proposal[name]) for name in ("tau", "rank") if name in proposal}
    return row | {RATES[method]: rate}


def layer_group(layers: Set[int], depth: int) -> str:
    """Returns which thirds of the encoder are adapted, e.g. `upper` or `middle and upper`."""
    thirds = {layer * len(GROUPS) // depth for layer in layers}
    return " and ".join(name for place, name in enumerate(GROUPS) if place in thirds)


def residual(scores_N: NDArray[np.float64], sizes_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns each score minus what a straight line over log10(1 + parameters) says of its size, (N,)."""
    x = size_axis(sizes_N)
    if float(x.std()) < 1e-12:
        return np.asarray(scores_N - scores_N.mean())
    slope, start = np.polyfit(x, scores_N, 1)
    return np.asarray(scores_N - (slope * x + start))


def _settings(rows: Sequence[Row], values: NDArray[np.float64]) -> list[SettingView]:
    from qrlora_search.adapters.optuna_search.importance import divergences, ped_anova

    apart = divergences(rows, values.tolist(), LOGARITHMIC)
    total = sum(apart.values()) or 1.0
    whole = {name: value / total for name, value in apart.items()}
    names = [name for name in whole if len({row.get(name) for row in rows}) > 1]
    random, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        places = random.integers(0, len(rows), len(rows))
        found = ped_anova([rows[place] for place in places], values[places].tolist(), LOGARITHMIC)
        drawn.append([found.get(name, 0.0) for name in names])
    if not names:
        return []
    shuffled = [divergences(rows, random.permutation(values).tolist(), LOGARITHMIC) for _ in range(SHUFFLES)]
    chances = np.quantile([[one.get(name, 0.0) for name in names] for one in shuffled], 0.95, axis=0) / total
    lows, highs = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    views = [  # a resample repeats trials, which moves all shares: an interval holds its own share in any case
        SettingView(setting=name, share=whole[name], low=min(float(low), whole[name]),
                    high=max(float(high), whole[name]), chance=float(chance))
        for name, low, high, chance in zip(names, lows, highs, chances, strict=True)
    ]  # fmt: skip
    return sorted(views, key=lambda one: -one.share)
