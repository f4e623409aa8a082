"""A search that runs: its record, its sinks, its signals, and its end."""

import shutil
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from qrlora_search.adapters.optuna_search.sampler import SearchSampler
from qrlora_search.app.bases import BASE, keep_base
from qrlora_search.app.confirming import Confirming
from qrlora_search.app.console import ProgressSink, show_front
from qrlora_search.app.delivery import deliver, followers, show_link
from qrlora_search.app.ending import Ending
from qrlora_search.app.front_view import FrontView
from qrlora_search.app.loop import SearchLoop
from qrlora_search.app.phases import InTurn
from qrlora_search.app.planning import PLAN_FILE, Planned
from qrlora_search.app.report_files import drop_drafts, write_atomically
from qrlora_search.app.scoring import Scorer, Weights
from qrlora_search.app.signals import EXIT_CODES, Signals
from qrlora_search.app.trial_files import write_spectra, write_trials
from qrlora_search.describe.configuration import Configuration
from qrlora_search.describe.proposals import canonical, dimensions
from qrlora_search.describe.protocols import Engine, Parameters
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.tasks import find_task
from qrlora_search.describe.tried import Tried
from qrlora_search.method.machine import versions_here
from qrlora_search.prepare.preparation import Prepared
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.history import ALL_FAILED, AS_ASKED, HEAD_ONLY, TrialHistory, history_of
from qrlora_search.record.pump import Pump
from qrlora_search.record.storage import claim_place
from qrlora_search.values.packing import pack
from qrlora_search.values.states import TrialState


@dataclass(frozen=True)
class Workforce:
    """What a search works with. threads: of one trial; lanes: cores or GPUs that prepare."""

    threads: int
    lanes: int


class Session:
    """One run of a search in its output folder, which the caller holds (see `output.held`). part: of a larger command,
    which says itself how to go on.
    """

    def __init__(
        self, planned: Planned, prepared: Prepared, console: Console, resumed: bool, *, part: bool = False
    ) -> None:
        self.plan, self.prepared, self.console = planned.plan, prepared, console
        self.output, self.tracking, self.part = planned.output, planned.tracking, part
        claim_place(self.output)
        self.record = Record(record_url(self.output))
        self.weights = Weights(self.output)
        self.history = history_of(self.record.all())
        self.scorer = Scorer(prepared.materials, self.weights, self.plan.seed, prepared.further)
        self.before = self.history.seconds
        self._clear_up()
        keep_base(prepared, self.plan, self.output)
        self._open(resumed)

    def _clear_up(self) -> None:
        """Removes what a killed run left: parts of files, checkpoints of no further use, the base of no search."""
        stopped = [one.number for one in self.history.in_state(TrialState.STOPPED)]
        runs = [(run.trial, run.number) for run in self.history.confirmation.runs.values() if run.state is None]
        self.weights.clean([*((trial, None) for trial in (*self.history.live, *stopped)), *runs])
        drop_drafts(self.output)
        if self.history.plan is None:
            shutil.rmtree(self.output / BASE, ignore_errors=True)

    def _append(self, kind: str, data: dict[str, object], trial: int | None = None) -> int:
        event = self.record.append(kind, data, trial)
        self.history.apply(event)
        return event.sequence

    def _open(self, resumed: bool) -> None:
        plan = self.plan.model_dump(mode="json")
        write_atomically(self.output / PLAN_FILE, self.plan.model_dump_json(indent=1).encode())
        write_spectra(self.prepared.spectra, self.plan.space.tau.rule, self.output)
        if resumed and self.history.plan is not None:
            self._append("resumed", {"plan": plan, "at": _now()})
        else:
            self._append("opened", {"plan": plan, "search_id": uuid.uuid4().hex, "at": _now()})
        if not self.history.labels:
            tokens = self.prepared.materials.splits
            kind = float if find_task(self.plan.task).regression else int
            names = ("selection", *self.plan.counts.report)
            labels = {name: pack(tokens[name].labels_N.astype(kind)) for name in names}
            self._append("prepared", {"made": list(self.prepared.made), "labels": labels})
        if (None, "selection") not in self.history.scored:
            self._append("scored", self.scorer.score(None, "selection"))

    def run(
        self, engine: Engine, started: float, signals: Signals, work: Workforce, metrics_port: int | None = None
    ) -> int:
        """Runs the search to its end and returns the exit code. metrics_port: serve metrics for Prometheus there."""
        progress = Pump(self.record, lambda: ProgressSink(self.console), "progress")
        pumps = [*followers(self.plan, self.tracking, self.record, self.output), *self._metrics(metrics_port)]
        loop = SearchLoop(self.plan, self.record, self.history, self._sampler(), self._canonical, self.weights)
        confirming = Confirming(self.plan, self.record, self.history, self.scorer)
        if self.plan.time_limit_s is not None:  # its last part is for confirmation, in the proportion of the epochs
            for_trials = self.plan.time_limit_s / (1 + self.plan.space.confirm.share)
            loop.set_deadline(time.monotonic, started + for_trials)
            confirming.set_deadline(time.monotonic, started + self.plan.time_limit_s)
        turns = InTurn([loop, confirming])
        spent = dict(self.prepared.seconds)
        prepared_s = work.lanes * sum(spent.values())
        self._append("engine", {"threads": work.threads, "preparation_s": prepared_s, "versions": versions_here()})
        began = time.monotonic()
        with signals.listening(turns.interrupt):
            engine.run(turns)
            spent |= {"trials": time.monotonic() - began, "sinks": sum(one.busy_s for one in (progress, *pumps))}
            progress.close(self.record.last())
            view = self._end(loop.ending or confirming.ending or "complete", started, spent, turns)
            show_front(self.console, view, str(self.output))
            deliver(pumps, self.record, self.console)
            show_link(pumps, self.console)
        if view.outcome != "complete" and not self.part:
            self.console.print(f"{view.outcome}: the same command with --resume goes on from here")
        self.record.close()
        return 1 if view.outcome.startswith(ALL_FAILED) else EXIT_CODES.get(view.outcome, 0)

    def _metrics(self, port: int | None) -> list[Pump]:
        if port is None:
            return []
        from qrlora_search.adapters.prometheus_sink.sink import MetricsSink

        sink = MetricsSink(port)
        self.console.print(f"metrics at http://127.0.0.1:{port}/metrics")
        return [Pump(self.record, lambda: sink, "the metrics")]

    def _sampler(self) -> SearchSampler:
        space, plan = self.plan.space, self.plan
        settings = Settings(dimensions(space, plan.encoder.layers), self._canonical, plan.max_params)
        first = [*plan.warm_start, *(settings.start_points() if space.sampler.start_points else [])]
        proposed = [one for number, one in sorted(self.history.trials.items()) if number != HEAD_ONLY]
        return SearchSampler(settings, space.sampler, plan.seed, first, map(self._tried, proposed))

    def _tried(self, one: TrialHistory) -> Tried:
        source = one if one.duplicate_of is None else self.history.trials[one.duplicate_of]
        state = TrialState.STOPPED if one.refused else source.state
        return Tried(one.number, one.proposal, state, source.score, one.configuration.parameters)

    def _canonical(self, proposal: Parameters) -> Configuration:
        return canonical(
            self.plan.space, proposal, self.prepared.spectra, self.plan.encoder.layers, self.plan.encoder.parameters
        )

    def _end(self, outcome: str, started: float, spent: dict[str, float], turns: InTurn) -> FrontView:
        """Scores the report split once for the controls and the members, writes the files, closes the record. A signal
        ends the scoring, which a resume goes on with.
        """
        began = time.monotonic()
        ending = Ending(self.plan, self.record, self.history, self.scorer, lambda: bool(turns.ended))
        members, whole = ending.score(with_report=outcome in AS_ASKED)
        outcome = outcome if whole else turns.ended
        write_trials(self.history, self.output)
        view = ending.write(self.output, outcome, self.before + time.monotonic() - started)
        data: dict[str, object] = {
            "outcome": outcome,
            "seconds": time.monotonic() - started,
            "spent": {**spent, "ending": time.monotonic() - began},
            "hypervolume": view.hypervolume.value,
            "front_size": len(members),
            "trials": len(self.history.searched),
            "members": sorted({trial for trial, _ in members}),
            "marks": view.marks,
        }
        self._append("closed", data)
        return view


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
