"""Confirmation: the raw front's members and the head-only control are trained again with further seeds.

A round is one further seed for every point whose place is still open, on one of the plan's warm-ups, in turn, the
search's own last. Rounds end before the next begins, so that what is trained does not depend on how many run side by
side. What a round trains is recorded before it begins: after a kill its scores would decide otherwise.
"""

import threading
from dataclasses import asdict, replace

from qrlora_search.app.deriving import derive
from qrlora_search.app.loop import MOST_RETRIES
from qrlora_search.app.phases import APART, Interruptible
from qrlora_search.app.scoring import Scorer, Wanted
from qrlora_search.app.views.candidates import HEAD_CONTROL, Standing
from qrlora_search.describe.plan import MOST_SEED, SearchPlan
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.method.checkpoint import report_in
from qrlora_search.record.confirmation import Point
from qrlora_search.record.events import Record
from qrlora_search.record.history import History
from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.repeated import LEAST_FREEDOM, pooled_spread, undecided
from qrlora_search.values.states import Decision, FinishedTrial, Report, TrialState


class Confirming(Interruptible):
    """A `TrialDriver` for after the search. Its state is what the record adds up to, but for the round that runs."""

    def __init__(self, plan: SearchPlan, record: Record, history: History, scorer: Scorer) -> None:
        super().__init__()
        self.plan, self.record, self.history, self.scorer = plan, record, history, scorer
        self.lock = threading.RLock()
        self.begun = self.over = self.decided = False
        self.round = 0
        self.queue: list[tuple[int, int]] = []
        self.live: set[int] = set()

    @property
    def exhausted(self) -> bool:
        """Returns whether no further training will start; where that comes of itself, confirmation is closed."""
        with self.lock:
            self._advance()
            return self.over or self.interrupted

    def next_trial(self) -> TrialOrder | None:
        """Returns the next further training, or None while a round has still to end, or when all are done."""
        with self.lock:
            while True:
                self._advance()
                if self.interrupted or not self.queue:
                    return None
                order = self._start(*self.queue.pop(0))
                if order is not None:
                    return order

    def _start(self, trial: int, seed: int) -> TrialOrder | None:
        """Returns the order of a further training, which goes on where it began before; None where all of it is there
        but for its end.
        """
        runs, configuration = self.history.confirmation.runs, self.history.trials[trial].configuration
        again = [run for run in runs.values() if (run.trial, run.seed) == (trial, seed)]
        number = again[0].number if again else len(runs)
        turn = self.history.confirmation.seeds.index(seed) + 1  # the search's own comes last: it knows that one
        warm_up = turn % len(self.plan.warm_up_seeds)
        epoch, order = 0, TrialOrder(number, configuration, seed, warm_up=warm_up)
        if again:
            order = replace(order, checkpoint=self.scorer.weights.checkpoint(trial, number))
            ahead = report_in(replace(order, trial=number + APART))  # as it was numbered where it trained: see InTurn
            if ahead is not None and ahead.epoch == len(again[0].reports) + 1:
                self.reported(number, ahead)  # the driver died after it kept the checkpoint, before it recorded this
            if len(again[0].reports) == configuration.epochs:
                self._score(number)
                return None
            epoch = 0 if ahead is None else ahead.epoch
        self._append("confirm_started", {"run": number, "seed": seed, "warm_up": warm_up, "epoch": epoch}, trial)
        self.live.add(number)
        return order

    def _append(self, kind: str, data: dict[str, object], trial: int | None = None) -> None:
        self.history.apply(self.record.append(kind, data, trial))

    def _advance(self) -> None:
        """Begins confirmation, or its next round, when nothing of the round before is left; closes it at the end."""
        if self.over or self.interrupted or self.queue or self.live:
            return
        if not self.begun:
            self._begin()
        if not self.over:
            self._next_round()

    def _next_round(self) -> None:
        if self.interrupted:  # while derived adapters and controls were scored
            return
        seeds = self.history.confirmation.seeds
        while not self.queue and self.round < len(seeds):
            if self.round not in self.history.confirmation.rounds:
                trials = self._affordable(seeds[self.round])
                if trials:
                    self._append("confirm_round", {"round": self.round, "trials": trials})
            ended = {(run.trial, run.seed) for run in self.history.confirmation.runs.values() if run.state is not None}
            asked = [(trial, seeds[self.round]) for trial in self.history.confirmation.rounds.get(self.round, [])]
            self.queue = [one for one in asked if one not in ended]
            self.round += 1
        if not self.queue:
            self._close()

    def _begin(self) -> None:
        self.begun = True
        derive(self.plan, self.record, self.history, self.scorer, lambda: self.interrupted)
        if self.interrupted:
            return
        confirm, confirmation = self.plan.space.confirm, self.history.confirmation
        if confirm.share == 0 or confirmation.closed:
            self.over = True
            return
        candidates: list[Point] = [one.point for one in Standing(self.history).raw_front()]
        allowed = int(confirm.share * sum(len(one.reports) for one in self.history.searched))
        seeds = [(self.plan.seed + step) % MOST_SEED for step in range(1, confirm.seeds + 1)]
        if (candidates, allowed, seeds) != (confirmation.candidates, confirmation.allowed, confirmation.seeds):
            data: dict[str, object] = {"candidates": candidates, "epochs": allowed, "seeds": seeds}
            self._append("confirm_planned", data)
        self._score_controls()

    def _score_controls(self) -> None:
        for warm_up in range(1, len(self.plan.warm_up_seeds)):
            if (warm_up, "selection") not in self.history.confirmation.controls and not self.interrupted:
                scored = self.scorer.score(Wanted(None, warm_up=warm_up), "selection")
                self._append("confirm_control", {"warm_up": warm_up, **scored})

    def _affordable(self, seed: int) -> list[int]:
        """Returns the trials whose place is open and that were not trained with a seed, as far as the epochs go."""
        confirmation, found = self.history.confirmation, []
        left = confirmation.allowed - confirmation.epochs
        for trial in self._open_trials():
            mine = [run for run in confirmation.runs.values() if (run.trial, run.seed) == (trial, seed)]
            if any(run.state is not None for run in mine):
                continue
            left += sum(len(run.reports) for run in mine)  # they are counted in its epochs
            epochs = self.history.trials[trial].configuration.epochs
            if epochs <= left:
                left -= epochs
                found.append(trial)
        return found

    def _open_trials(self) -> list[int]:
        """Returns the trials to train in the next round: in the first all of the candidates' and the head-only control,
        then those that could still change the front. Those that add most to the raw hypervolume come first.
        """
        standing = Standing(self.history)
        candidates = self.history.confirmation.candidates
        if not candidates:
            return []
        controls = [HEAD_CONTROL] if HEAD_CONTROL in standing.control_points else []
        points = [*controls, *self._by_worth(standing, candidates)]
        if self.round >= len(self.plan.warm_up_seeds):  # each warm-up tells of itself before anything is decided
            points = self._still_open(standing, points)
            self.decided = not points
        return list(dict.fromkeys(trial for trial, _ in points))

    def _by_worth(self, standing: Standing, candidates: list[Point]) -> list[Point]:
        """Returns the candidates, those first without which the raw hypervolume would be smallest."""
        control, whole = standing.raw_control, self.plan.encoder.parameters
        ends = [
            FinishedTrial(point[0], standing.first_score(point), standing.parameters(point), 0, point[1])
            for point in candidates
        ]
        without = [hypervolume([one for one in ends if one.point != point], control, whole) for point in candidates]
        return [point for _, point in sorted(zip(without, candidates, strict=True), key=lambda pair: pair[0])]

    def _still_open(self, standing: Standing, points: list[Point]) -> list[Point]:
        """Returns the points whose further seeds could change the front."""
        confirmation = self.history.confirmation
        scores = {point: standing.further(point) for point in points}
        held = [point for point in points if scores[point] and not self._failed(point[0])]
        groups = {trial: [scores[point] for point in held if point[0] == trial] for trial, _ in held}
        spread, freedom = pooled_spread(list(groups.values()))
        if spread is None or freedom < LEAST_FREEDOM:
            return held
        ours = [sum(scores[point]) / len(scores[point]) for point in held]
        most = len(confirmation.seeds)
        counts = [len(scores[point]) for point in held]
        left = [most - len(confirmation.scores_of(point, "selection")) for point in held]
        sizes, levels = [standing.parameters(point) for point in held], standing.levels
        found = undecided([sum(levels) / len(levels), *ours], [0, *sizes], [1, *counts], [0, *left], spread)
        return [held[place - 1] for place in found]

    def _failed(self, trial: int) -> bool:
        return any(run.state is TrialState.FAILED for run in self.history.confirmation.runs_of(trial))

    def _close(self) -> None:
        self.over = True
        confirmation = self.history.confirmation
        if self.decided:
            why = "stopped early: no further seed could change the front"
        elif not confirmation.candidates:
            why = "there was nothing to confirm"
        else:
            why = "every seed was used" if self._all_used() else "the epochs for it were used up"
        self._append("confirm_closed", {"reason": f"{why}; {confirmation.epochs} of {confirmation.allowed} epochs"})

    def _all_used(self) -> bool:
        confirmation = self.history.confirmation
        return all(len(confirmation.runs_of(trial)) == len(confirmation.seeds) for trial, _ in confirmation.candidates)

    def reported(self, trial: int, report: Report) -> Decision:
        """Takes an epoch of a further training; after its last one its adapter is scored, whole and cut."""
        with self.lock:
            run = self.history.confirmation.runs[trial]
            data = {name: value for name, value in asdict(report).items() if name not in {"weights", "checkpoint"}}
            self.scorer.weights.keep(run.trial, report, run.number)
            self._append("confirm_report", {"run": trial, **data}, run.trial)
            if report.epoch < self.history.trials[run.trial].configuration.epochs:
                return Decision(stop=self.interrupted, reason=self.ending or "a further training goes to its end")
            return self._score(trial)

    def _score(self, number: int) -> Decision:
        """Scores the adapter of a further training that has all its epochs, whole and cut, and ends it."""
        run = self.history.confirmation.runs[number]
        for kept in self._kept(run.trial):
            if (kept, "selection") not in run.scored:
                wanted = Wanted(self.history.trials[run.trial], kept, run.number, run.seed, run.warm_up)
                scored = {"run": number, "kept": kept, **self.scorer.score(wanted, "selection")}
                self._append("confirm_scored", scored, run.trial)
        return self._finish(number, TrialState.FINISHED, f"all {len(run.reports)} epochs")

    def _kept(self, trial: int) -> list[int | None]:
        """Returns what of a trial is scored: whole (None), which tells what cutting it is worth, and so many of its
        coefficients, where they are candidates.
        """
        return [None, *(kept for number, kept in self.history.confirmation.candidates if number == trial and kept)]

    def failed(self, trial: int, reason: str) -> None:
        """Takes the news that a further training failed: its trial cannot be a member."""
        with self.lock:
            if self.history.confirmation.runs[trial].state is None:
                self._finish(trial, TrialState.FAILED, reason)

    def lost(self, trial: int, reason: str, *, counted: bool = True) -> None:
        """Takes the news that a further training lost its worker: it goes on from its checkpoint, up to three times."""
        with self.lock:
            run = self.history.confirmation.runs[trial]
            if run.state is not None or self.interrupted:
                return
            if counted and self.history.confirmation.losses[trial] >= MOST_RETRIES:
                self.failed(trial, f"lost its worker {MOST_RETRIES + 1} times, the last time: {reason}")
                return
            self._append("confirm_retried", {"run": trial, "reason": reason, "counted": counted}, run.trial)
            self.live.discard(trial)
            self.queue.append((run.trial, run.seed))

    def _finish(self, number: int, state: TrialState, reason: str) -> Decision:
        trial = self.history.confirmation.runs[number].trial
        self._append("confirm_ended", {"run": number, "state": str(state), "reason": reason}, trial)
        self.scorer.weights.ended(trial, number)
        self.live.discard(number)
        return Decision(stop=True, reason=reason)
