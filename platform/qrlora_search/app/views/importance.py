"""What buys accuracy per parameter: which settings tell the front's neighbourhood, or a high score for the size, apart.

Over Finished trials alone, by the scores that the search saw.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qrlora_search.app.front_view import ImportanceView, SettingView
from qrlora_search.describe.configuration import MATRICES, Configuration
from qrlora_search.describe.proposals import LEARNING_RATES
from qrlora_search.record.history import History, TrialHistory
from qrlora_search.values.objectives import losses, size_axis
from qrlora_search.values.states import TrialState

LEAST = 30
"""Finished trials below which nothing is said."""
RESAMPLES = 40
MOST = 200
"""Trials beyond which a seeded sample stands for all."""
LOGARITHMIC = tuple(dict.fromkeys(name.replace("_", " ") for name in LEARNING_RATES.values()))
GROUPS = ("lower", "middle", "upper")


def importance_views(history: History) -> list[ImportanceView]:
    """Returns the importance for reaching the front, then for the score at a given size, with bootstrap intervals."""
    trials = [one for one in history.in_state(TrialState.FINISHED) if one.configuration.ranks]
    questions: tuple[Literal["front", "score at size"], ...] = ("front", "score at size")
    if len(trials) < LEAST or history.plan is None:
        words = f"too few: {len(trials)} Finished trials, {LEAST} are needed"
        return [ImportanceView(question=one, n=len(trials), settings=[], words=words) for one in questions]
    if len(trials) > MOST:
        chosen = np.random.default_rng(0).choice(len(trials), MOST, replace=False)
        trials = [trials[place] for place in sorted(chosen)]
    rows = [settings_of(one, history.plan.encoder.layers) for one in trials]
    scores = np.array([one.score or 0.0 for one in trials])
    sizes = np.array([one.configuration.parameters for one in trials])
    both, residuals = losses(scores, sizes), -residual(scores, sizes)[:, None]
    return [
        ImportanceView(
            question="front",
            n=len(trials),
            settings=_settings(rows, both),
            words=f"importance for reaching the front, PED-ANOVA over {len(trials)} Finished trials",
        ),
        ImportanceView(
            question="score at size",
            n=len(trials),
            settings=_settings(rows, residuals),
            words=f"importance for a high score at a given size, PED-ANOVA over {len(trials)} Finished trials",
        ),
    ]


def settings_of(trial: TrialHistory, depth: int) -> dict[str, str | float]:
    """Returns what is asked about of a trial: each matrix, the group of layers, tau, the learning rate, and where the
    search varies them the method, the batch size and the head.
    """
    what, proposal = trial.configuration, trial.proposal
    row: dict[str, str | float] = {
        f"W{kind}": "yes" if any(one.matrix == kind for one in what.ranks) else "no" for kind in MATRICES
    }
    row["layer group"] = layer_group(what, depth)
    row |= {name: float(proposal[name]) for name in ("tau", "rank") if name in proposal}
    row[LEARNING_RATES[what.method].replace("_", " ")] = what.learning_rate
    return row | {"method": what.method, "batch size": float(what.batch_size), "head": what.head}


def layer_group(configuration: Configuration, depth: int) -> str:
    """Returns which thirds of the encoder are adapted, e.g. `upper` or `middle and upper`."""
    thirds = {one.layer * len(GROUPS) // depth for one in configuration.ranks}
    return " and ".join(name for place, name in enumerate(GROUPS) if place in thirds)


def residual(scores_N: NDArray[np.float64], sizes_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns each score minus what a straight line over log10(1 + parameters) says of its size, (N,)."""
    x = size_axis(sizes_N)
    if float(x.std()) < 1e-12:
        return np.asarray(scores_N - scores_N.mean())
    slope, start = np.polyfit(x, scores_N, 1)
    return np.asarray(scores_N - (slope * x + start))


def _settings(rows: Sequence[dict[str, str | float]], values: NDArray[np.float64]) -> list[SettingView]:
    from qrlora_search.adapters.optuna_search.importance import ped_anova

    whole = ped_anova(rows, values.tolist(), LOGARITHMIC)
    names = [name for name in whole if len({row.get(name) for row in rows}) > 1]
    random, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        places = random.integers(0, len(rows), len(rows))
        found = ped_anova([rows[place] for place in places], values[places].tolist(), LOGARITHMIC)
        drawn.append([found.get(name, 0.0) for name in names])
    if not names:
        return []
    lows, highs = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    views = [
        SettingView(setting=name, share=whole[name], low=float(low), high=float(high))
        for name, low, high in zip(names, lows, highs, strict=True)
    ]
    return sorted(views, key=lambda one: -one.share)
