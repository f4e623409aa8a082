"""From a sweep's budget to each search's target in a round."""

import os
from pathlib import Path

from qrlora_search.app.sweep_jobs import NO_LIMIT, Turn
from qrlora_search.app.sweep_record import Entry, SweepRecord
from qrlora_search.describe.space import load_space
from qrlora_search.describe.sweep import SweepSpec
from qrlora_search.values.allotment import allot, growth
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import expand

LEAST_S = 10
"""Seconds of a round with less of which a search gets nothing done."""


def check_budget(spec: SweepSpec) -> None:
    """Raises UserError where epochs or time are too few for a configuration of each search in each round. Those of a
    budget of configurations are checked with the spec. Raises UserError for a space that cannot be read, too.
    """
    budget, jobs = spec.budget, spec.jobs()
    if budget.unit == "configurations":
        return
    if budget.unit == "epochs":
        least = budget.rounds * sum(round(_most_epochs(spec, one.key)) for one in jobs)
        enough, total = str(least), str(budget.epochs)
    else:
        least = LEAST_S * budget.rounds * len(jobs)
        enough, total = f'"{least}s"', repr(budget.time)
    if budget.total < least:
        raise UserError(
            f"budget.{budget.unit} = {total} is too little for {len(jobs)} searches in {budget.rounds} rounds; give at "
            f"least {enough}, or fewer rounds"
        )


def open_entries(record: SweepRecord) -> dict[str, Entry]:
    """Returns the searches that may still get something."""
    return {key: one for key, one in record.entries.items() if one.state in {"waiting", "done"} and not one.used_up}


def plan_round(spec: SweepSpec, record: SweepRecord) -> None:
    """Sets every open search's target for the next round.

    The first round goes by shares, one configuration to each search at least. In later ones a floor goes by shares, and
    the rest by share x growth of the hypervolume in the round before, relative to its size. What was not spent stays in
    the pot. Epochs are given out as whole configurations: after the first round none where a part is less than one.
    """
    entries, budget = open_entries(record), spec.budget
    if budget.unit == "time":
        for one in record.entries.values():
            one.target, one.spent_before_s = 0, one.spent_s
    left = budget.total - spent(spec, record)
    rounds = budget.rounds - record.planned
    amount = max(0, left // rounds if rounds > 1 else left)
    if entries and amount:
        shares = [spec.share(one.task) for one in entries.values()]
        growths = _growths(list(entries.values()))
        parts = allot(amount, shares, growths, budget.floor, budget.seed + record.planned)
        if budget.unit == "configurations" and not record.planned:
            parts = _one_each(parts)
        for (key, entry), part in zip(entries.items(), parts, strict=True):
            entry.target = _target(spec, entry, key, part)
    record.planned += 1


def _one_each(parts: list[int]) -> list[int]:
    """Returns the parts with one from the largest for each that has none, as far as they go."""
    parts = list(parts)
    while 0 in parts and max(parts) > 1:
        parts[parts.index(max(parts))] -= 1
        parts[parts.index(0)] = 1
    return parts


def spent(spec: SweepSpec, record: SweepRecord) -> int:
    """Returns what the sweep's own searches have spent, in the budget's unit."""
    own = [one for one in record.entries.values() if one.state != "skipped"]
    if spec.budget.unit == "configurations":
        return sum(max(0, one.configurations - one.before) for one in own)
    if spec.budget.unit == "epochs":
        return sum(max(0, one.epochs - one.epochs_before) for one in own)
    return round(sum(one.spent_s for one in own))


def turn_of(spec: SweepSpec, entry: Entry) -> Turn | None:
    """Returns what a search's target means for its next run; None where it got nothing."""
    if spec.budget.unit == "time":
        left = entry.target - (entry.spent_s - entry.spent_before_s)  # of a round that was interrupted
        return Turn(NO_LIMIT, float(left)) if left >= 1 else None
    return Turn(entry.target) if entry.target > max(0, entry.before) else None


def _growths(entries: list[Entry]) -> list[float]:
    """Returns each front's growth in its last round; where confirmation could not tell it, the mean of the others."""
    found = [_growth(one) for one in entries]
    known = [one for one in found if one is not None]
    return [(sum(known) / len(known) if known else 1.0) if one is None else one for one in found]


def _growth(entry: Entry) -> float | None:
    if not entry.volumes:  # it got nothing yet
        return 1.0
    before, now = entry.volumes[-2] if len(entry.volumes) > 1 else entry.before_volume, entry.volumes[-1]
    return None if before is None or now is None else growth(before, now)


def _target(spec: SweepSpec, entry: Entry, key: str, part: int) -> int:
    have = max(entry.configurations, entry.before)
    if spec.budget.unit == "configurations":
        return have + part
    if spec.budget.unit == "epochs":
        own = entry.epochs / entry.configurations if entry.configurations else _most_epochs(spec, key)
        least = 0 if entry.configurations else min(1, part)
        return have + max(least, int(part / max(own, 1.0)))
    return part


def _most_epochs(spec: SweepSpec, key: str) -> float:
    job = next(one for one in spec.jobs() if one.key == key)
    space = None if job.space == "default" else Path(expand(job.space, os.environ, "searches.spaces"))
    return float(load_space(job.task, space).training.epochs)
