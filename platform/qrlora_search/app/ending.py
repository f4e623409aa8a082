"""The end of a search: the report split is scored once for the members fixed by then, and the files are written."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from qrlora_search.app.front_view import FrontView, MemberView
from qrlora_search.app.report_files import write_front
from qrlora_search.app.scoring import Scorer, Wanted, copy_adapter
from qrlora_search.app.views.building import build_front_view
from qrlora_search.app.views.candidates import HEAD_CONTROL, Standing, members_of
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.record.confirmation import Point
from qrlora_search.record.events import Record
from qrlora_search.record.history import History


class Ending:
    """Scores what is to be reported and writes the front; everything goes through the record.

    stop: whether to score no more, as after a signal.
    """

    def __init__(
        self, plan: SearchPlan, record: Record, history: History, scorer: Scorer, stop: Callable[[], bool]
    ) -> None:
        self.plan, self.record, self.history, self.scorer, self.stop = plan, record, history, scorer, stop

    def score(self, *, with_report: bool) -> tuple[list[Point], bool]:
        """Returns the members, whose adapters are scored on the report split if asked, and whether all were, which a
        stop prevents; nothing is scored twice.
        """
        members = members_of(self.history)
        if HEAD_CONTROL in Standing(self.history).control_points:
            self._own(HEAD_CONTROL, "selection")
        for step in self._steps(members, with_report):
            if self.stop():
                return members, False
            step()
        return members, True

    def _steps(self, members: list[Point], with_report: bool) -> Iterator[Callable[[], None]]:
        for split in self.plan.counts.report if with_report else ():
            yield partial(self._own, None, split)
            controls = [HEAD_CONTROL] if HEAD_CONTROL in Standing(self.history).control_points else []
            for point in (*controls, *members):
                yield partial(self._own, point, split)
            for warm_up in range(len(self.plan.warm_up_seeds)):  # one workbench after the other
                yield partial(self._control, warm_up, split)
                for point in (*controls, *members):
                    yield partial(self._again, point, split, warm_up)
        if with_report:
            for point in dict.fromkeys([*members, *self.history.confirmation.candidates]):
                yield partial(self._own, point, "selection")

    def _own(self, point: Point | None, split: str) -> None:
        """Scores a control's or a trial's own adapter, or its largest coefficients."""
        trial, kept = (None, None) if point is None else point
        if trial is not None and kept is not None:
            if (trial, kept, split) not in self.history.confirmation.derived:
                wanted = Wanted(self.history.trials[trial], kept)
                self._append("derived", {"kept": kept, **self.scorer.score(wanted, split)}, trial)
        elif (trial, split) not in self.history.scored:
            one = None if trial is None else self.history.trials[trial]
            self._append("scored", self.scorer.score(one, split), trial)

    def _control(self, warm_up: int, split: str) -> None:
        """Scores a further warm-up without adapter, where it took part in confirmation."""
        controls = self.history.confirmation.controls
        if (warm_up, "selection") in controls and (warm_up, split) not in controls:
            scored = self.scorer.score(Wanted(None, warm_up=warm_up), split)
            self._append("confirm_control", {"warm_up": warm_up, **scored}, None)

    def _again(self, point: Point, split: str, warm_up: int) -> None:
        """Scores the adapters of a point's further trainings on a warm-up."""
        trial, kept = point
        for run in self.history.confirmation.runs_of(trial):
            missing = (kept, "selection") in run.scored and (kept, split) not in run.scored
            if missing and run.warm_up == warm_up:
                wanted = Wanted(self.history.trials[trial], kept, run.number, run.seed, warm_up)
                data = {"run": run.number, "kept": kept, **self.scorer.score(wanted, split)}
                self._append("confirm_scored", data, trial)

    def _append(self, kind: str, data: dict[str, object], trial: int | None) -> None:
        self.history.apply(self.record.append(kind, data, trial))

    def write(self, output: Path, outcome: str, seconds: float) -> FrontView:
        """Builds the view, and writes the members' adapters and the view's files."""
        view = build_front_view(self.history, outcome, seconds)
        folder = output / "front"
        shutil.rmtree(folder, ignore_errors=True)
        for member in view.members:
            wanted = Wanted(self.history.trials[member.trial], member.kept)
            copy_adapter(self.scorer, wanted, folder, self._facts(view, member))
        write_front(view, output)
        return view

    def _facts(self, view: FrontView, member: MemberView) -> dict[str, object]:
        return {
            "task": view.task,
            "model": self.plan.model.model_dump(mode="json", exclude={"path"}),
            "data": self.plan.data.model_dump(mode="json", exclude={"path"}),
            "marks": view.marks,
            "stand_in": view.stand_in,
            "selection": member.selection.model_dump(),
            "report": [one.model_dump() for one in member.report],
        }
