"""PED-ANOVA by Optuna's evaluator, on plain data (arXiv 2304.10255; conditional settings: arXiv 2601.20800)."""

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import create_trial

Setting = str | float
LEAST_ABOVE = 15
"""Trials among the top where a tenth is fewer: of five, chance is rarely told from a cause (docs/log.md)."""


def ped_anova(
    rows: Sequence[Mapping[str, Setting]], values: Sequence[Sequence[float]], logarithmic: Sequence[str] = ()
) -> dict[str, float]:
    """Returns each setting's share of what tells the top trials from all, by name; all 0 where nothing does."""
    found = divergences(rows, values, logarithmic)
    total = sum(found.values())
    return {name: value / total if total > 0 else 0.0 for name, value in found.items()}


def divergences(
    rows: Sequence[Mapping[str, Setting]], values: Sequence[Sequence[float]], logarithmic: Sequence[str] = ()
) -> dict[str, float]:
    """Returns how far each setting's distribution among the top trials is from that among all, by name.

    rows: a trial's settings each, texts or numbers; a trial may lack some. values: its objectives, lower is better,
    one or two: of two, the top are those nearest to the front. The top is a tenth of the trials, at least 15, at most
    half. logarithmic: settings on a log scale.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = list(dict.fromkeys(name for row in rows for name in row))
    made = {name: _distribution([row[name] for row in rows if name in row], name in logarithmic) for name in names}
    kinds = {name: kind for name, kind in made.items() if kind is not None}
    varied = list(kinds)
    study = optuna.create_study(directions=[StudyDirection.MINIMIZE] * len(values[0]))
    for row, ends in zip(rows, values, strict=True):
        params = {name: row[name] for name in varied if name in row}
        trial = create_trial(params=params, distributions={name: kinds[name] for name in params}, values=list(ends))
        study.add_trial(trial)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, LEAST_ABOVE / len(rows))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is experimental and says so at each use
        found = evaluator.evaluate(study, varied) if varied else {}
    return {name: float(found.get(name, 0.0)) for name in names}


def _distribution(values: Sequence[Setting], log: bool) -> BaseDistribution | None:
    """Returns Optuna's form of a setting by the values that it has, or None where it has only one."""
    if len(set(values)) < 2:
        return None
    if any(isinstance(value, str) for value in values):
        return CategoricalDistribution(sorted({str(value) for value in values}))
    return FloatDistribution(float(min(values)), float(max(values)), log=log)
