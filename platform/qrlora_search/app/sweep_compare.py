"""This sweep's fronts against the last one's, as plain data: what grew, what is new, what got worse."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from qrlora_search.app.front_view import FrontView, MemberView, ScoreView
from qrlora_search.app.sweep_fronts import Snapshot
from qrlora_search.app.sweep_inputs import COMPARED, changed
from qrlora_search.app.sweep_record import Entry, SweepRecord
from qrlora_search.describe.plan import Frozen
from qrlora_search.describe.sweep import Regression
from qrlora_search.describe.tasks import find_task
from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.holm import holm_levels
from qrlora_search.values.intervals import paired_difference, score_interval, swap_p
from qrlora_search.values.packing import unpack
from qrlora_search.values.states import FinishedTrial

Verdict = Literal[
    "first", "not comparable", "unchanged", "no difference", "better", "regression", "failed", "nothing given"
]


REGRESSION = 3
"""What a sweep with a regression exits with."""


class DifferenceOfBest(Frozen):
    """Score of the best member now minus that of last time, on the same n examples, of a task's report splits together.

    low, high: 95 %. p: two-sided; holm_level: what it was held against when it was rejected, None where it was not.
    """

    split: str
    n: int
    difference: float
    low: float
    high: float
    p: float
    holm_level: float | None = None


class Line(Frozen):
    """One search in the report. folder: where its front lies. area, area_before: each front's hypervolume above its own
    control, with interval and n, in words. volume, volume_before: above one reference, the lower of both controls; a
    rise is not tested. mean_rise: of the best's mean over its seeds on the first report split.
    """

    key: str
    task: str
    stand_in: bool
    state: str
    reason: str
    verdict: Verdict
    folder: str = ""
    why: str = ""
    configurations: int = 0
    failed_trials: int = 0
    seconds: float = 0.0
    control: str = ""
    best: str = ""
    best_before: str = ""
    area: str = ""
    area_before: str = ""
    volume: float | None = None
    volume_before: float | None = None
    members: int = 0
    new_members: list[str] = Field(default_factory=list)
    difference: DifferenceOfBest | None = None
    mean_rise: float | None = None


class SweepReport(Frozen):
    """The report of one sweep. Versioned JSON."""

    version: Literal[1] = 1
    name: str
    slot: str
    base: str | None
    started: str
    ended: str
    seconds: float
    level: float
    lines: list[Line]
    notes: list[str]

    @property
    def rises(self) -> int:
        """Returns how many fronts have a larger hypervolume than last time, which may be chance."""
        both = [(one.volume, one.volume_before) for one in self.lines]
        return sum(now is not None and before is not None and now > before + 1e-12 for now, before in both)

    @property
    def regressions(self) -> list[Line]:
        """Returns the searches that got worse."""
        return [one for one in self.lines if one.verdict == "regression"]

    @property
    def failures(self) -> list[Line]:
        """Returns the searches that failed."""
        return [one for one in self.lines if one.state == "failed"]

    @property
    def exit_code(self) -> int:
        """Returns 3 on a regression, else 1 where a search failed, else 0."""
        return REGRESSION if self.regressions else 1 if self.failures else 0


Snapshots = Mapping[str, Snapshot]


def compare(record: SweepRecord, now: Snapshots, before: Snapshots, rule: Regression) -> list[Line]:
    """Returns a line for every search, with Holm's decision over all that were compared."""
    lines = {key: _line(key, entry, now.get(key), before.get(key)) for key, entry in record.entries.items()}
    tested = [key for key, line in lines.items() if line.difference is not None]
    levels = holm_levels([lines[key].difference.p for key in tested], rule.level)  # type: ignore[union-attr]
    for key, level in zip(tested, levels, strict=True):
        lines[key] = _decided(lines[key], level, rule)
    return list(lines.values())


def _decided(line: Line, level: float | None, rule: Regression) -> Line:
    found = line.difference
    if found is None:
        return line
    found = found.model_copy(update={"holm_level": level})
    verdict: Verdict = "no difference"
    if level is not None and found.high < 0 and found.difference < -rule.tolerance:
        verdict = "regression"
    elif level is not None and found.low > 0:
        verdict = "better"
    why, rise = line.why, line.mean_rise or 0.0
    if verdict != "no difference" and rise * found.difference < 0:
        why = f"of these two adapters; the mean over their seeds moved by {rise:+.4f}"
    return line.model_copy(update={"difference": found, "verdict": verdict, "why": why})


def _line(key: str, entry: Entry, now: Snapshot | None, before: Snapshot | None) -> Line:
    if now is None:
        verdict: Verdict = "failed" if entry.state == "failed" else "nothing given"
        return Line(key=key, task=entry.task, stand_in=False, state=entry.state, reason=entry.reason, verdict=verdict,
                    configurations=max(0, entry.configurations - entry.before), seconds=entry.spent_s)  # fmt: skip
    view = now.view
    line = Line(
        key=key,
        task=entry.task,
        stand_in=view.stand_in,
        state=entry.state,
        reason=entry.reason,
        verdict="first",
        folder=entry.output,
        configurations=0 if entry.state == "skipped" else entry.configurations - entry.before,
        failed_trials=view.counts["failed"],
        seconds=entry.spent_s,
        control=_shown(_reported(view, None)),
        best=_best(now),
        area=view.hypervolume.words,
        volume=view.hypervolume.value,
        members=len(view.members),
    )
    if before is None:
        return line
    return line.model_copy(update=_against(entry, now, before))


def _against(entry: Entry, now: Snapshot, before: Snapshot) -> dict[str, object]:
    differing = [name for name in changed(before.inputs, now.inputs) if name in COMPARED]
    facts: dict[str, object] = {"best_before": _best(before)}
    if differing or now.labels != before.labels:
        return facts | {"verdict": "not comparable", "why": f"{', '.join(differing) or 'labels'} changed"}
    reference = min(one.view.better_control.selection.score for one in (now, before))
    known = {_identity(one) for one in before.view.members}
    facts |= {
        "area_before": before.view.hypervolume.words,
        "volume": _volume(now.view, reference),
        "volume_before": _volume(before.view, reference),
        "new_members": [_words(one) for one in now.view.members if _identity(one) not in known],
    }
    if entry.state == "skipped":
        return facts | {"verdict": "unchanged", "why": entry.reason}
    task = find_task(entry.task)
    splits = task.report_splits
    if any(split not in one.best.report for split in splits for one in (now, before)):
        return facts | {"verdict": "not comparable", "why": "one of the searches did not end and was not scored"}
    labels, ours, theirs = (
        np.concatenate([unpack(one[split]) for split in splits])
        for one in (now.labels, now.best.report, before.best.report)
    )
    found = paired_difference(task.statistic, labels, ours, theirs)
    p = swap_p(task.statistic, labels, ours, theirs)
    difference = DifferenceOfBest(
        split=" + ".join(splits), n=found.n, difference=found.value, low=found.low, high=found.high, p=p
    )
    return facts | {"difference": difference, "mean_rise": _mean(now).score - _mean(before).score}


def _volume(view: FrontView, reference: float) -> float:
    members = [FinishedTrial(one.trial, one.selection.score, one.parameters) for one in view.members]
    return hypervolume(members, reference, view.plan.encoder.parameters)


def _identity(one: MemberView) -> tuple[object, ...]:
    return (one.words, tuple(one.ranks), one.learning_rate, one.batch_size, one.epochs, one.head)


def _words(one: MemberView) -> str:
    return f"{one.words}, {one.parameters} parameters, {one.selection.score:.4f} on selection"


def _best(snapshot: Snapshot) -> str:
    """Returns the best member with the score of the adapter that is compared, and the mean over its seeds beside it."""
    best, task = snapshot.best, find_task(snapshot.view.plan.task)
    splits, named = task.report_splits, f"{best.words}, {best.parameters} parameters"
    mean = _shown(_mean(snapshot))
    if any(split not in best.report for split in splits):
        return f"{named}: {mean}"
    labels, ours = (np.concatenate([unpack(one[split]) for split in splits]) for one in (snapshot.labels, best.report))
    found = score_interval(task.statistic, labels, ours)
    own = f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}] ({' + '.join(splits)}, n = {found.n})"
    same = len(splits) == 1 and mean.startswith(f"{found.value:.4f} ")
    return f"{named}: {own}" + ("" if same else f"; over its seeds {mean}")


def _mean(snapshot: Snapshot) -> ScoreView:
    """Returns the best's score on the first report split: over its further seeds, where it was confirmed."""
    return _reported(snapshot.view, snapshot.best.parameters)


def _reported(view: FrontView, parameters: int | None) -> ScoreView:
    """Returns a score on the first report split, of the control or the member of so many parameters."""
    members = [one for one in view.members if parameters and one.parameters == parameters]
    one = members[0] if members else view.better_control
    return (one.report or [one.selection])[0]


def _shown(one: ScoreView) -> str:
    return f"{one.score:.4f} [{one.low:.4f}, {one.high:.4f}] ({one.split}, n = {one.n})"
