"""A search that runs: its record, its sinks, its signals, and its end."""

import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

from filelock import FileLock, Timeout
from rich.console import Console

from qrlora_search.adapters.mlflow_sink.sink import MlflowSink
from qrlora_search.adapters.optuna_search.sampler import SearchSampler
from qrlora_search.adapters.optuna_search.study import StudySink
from qrlora_search.app.bases import keep_base
from qrlora_search.app.confirming import Confirming
from qrlora_search.app.console import ProgressSink, show_front
from qrlora_search.app.ending import Ending
from qrlora_search.app.front_view import FrontView
from qrlora_search.app.loop import SearchLoop
from qrlora_search.app.phases import InTurn
from qrlora_search.app.planning import PLAN_FILE, Planned
from qrlora_search.app.report_files import write_atomically
from qrlora_search.app.scoring import Scorer, Weights
from qrlora_search.describe.configuration import Configuration
from qrlora_search.describe.proposals import canonical, dimensions
from qrlora_search.describe.protocols import Engine, Parameters
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.tasks import find_task
from qrlora_search.describe.tried import Tried
from qrlora_search.prepare.preparation import Prepared
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.history import HEAD_ONLY, TrialHistory, history_of
from qrlora_search.record.pump import Pump
from qrlora_search.values.errors import UserError
from qrlora_search.values.packing import pack
from qrlora_search.values.states import TrialState

EXIT_CODES = {"interrupted by SIGINT": 130, "interrupted by SIGTERM": 143}


@dataclass(frozen=True)
class Workforce:
    """What a search works with. threads: of one trial; lanes: cores or GPUs that prepare."""

    threads: int
    lanes: int


class Session:
    """Holds an output folder for the time of one run: nobody else may write there."""

    def __init__(self, planned: Planned, prepared: Prepared, console: Console, resumed: bool) -> None:
        self.plan, self.prepared, self.console = planned.plan, prepared, console
        self.output = planned.output
        self.output.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.output / ".lock")
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"--output {str(self.output)!r} is in use by another search; wait for it to end") from None
        self.record = Record(record_url(self.output))
        self.weights = Weights(self.output)
        self.history = history_of(self.record.all())
        self.scorer = Scorer(prepared.materials, self.weights, self.plan.seed)
        self.before = self.history.seconds
        keep_base(prepared, self.plan, self.output)
        self._open(resumed)

    def _append(self, kind: str, data: dict[str, object], trial: int | None = None) -> int:
        event = self.record.append(kind, data, trial)
        self.history.apply(event)
        return event.sequence

    def _open(self, resumed: bool) -> None:
        plan = self.plan.model_dump(mode="json")
        write_atomically(self.output / PLAN_FILE, self.plan.model_dump_json(indent=1).encode())
        if resumed and self.history.plan is not None:
            self._append("resumed", {"plan": plan, "at": _now()})
            return
        self._append("opened", {"plan": plan, "search_id": uuid.uuid4().hex, "at": _now()})
        tokens = self.prepared.materials.splits
        kind = float if find_task(self.plan.task).regression else int
        names = ("selection", *self.plan.counts.report)
        labels = {name: pack(tokens[name].labels_N.astype(kind)) for name in names}
        self._append("prepared", {"made": list(self.prepared.made), "labels": labels})
        self._append("scored", self.scorer.score(None, "selection"))

    def run(self, engine: Engine, started: float, work: Workforce) -> int:
        """Runs the search to its end and returns the exit code."""
        pumps = [
            Pump(self.record, lambda: ProgressSink(self.console), "progress"),
            Pump(self.record, lambda: MlflowSink(self.plan.tracking_uri, self.output), "MLflow"),
            Pump(self.record, self._study, "the Optuna study"),
        ]
        loop = SearchLoop(self.plan, self.record, self.history, self._sampler(), self._canonical, self.weights.keep)
        confirming = Confirming(self.plan, self.record, self.history, self.scorer)
        if self.plan.time_limit_s is not None:  # its last part is for confirmation, in the proportion of the epochs
            for_trials = self.plan.time_limit_s / (1 + self.plan.space.confirm.share)
            loop.set_deadline(time.monotonic, started + for_trials)
            confirming.set_deadline(time.monotonic, started + self.plan.time_limit_s)
        turns = InTurn([loop, confirming])
        spent = dict(self.prepared.seconds)
        prepared_s = work.lanes * sum(spent.values())
        self._append("engine", {"threads": work.threads, "preparation_s": prepared_s})
        began = time.monotonic()
        with _interrupts(turns.interrupt):
            engine.run(turns)
        spent |= {"trials": time.monotonic() - began, "sinks": sum(pump.busy_s for pump in pumps)}
        pumps[0].close(self._last())
        view = self._end(loop.ending or confirming.ending or "complete", started, spent)
        troubles = {pump.name: pump.close(self._last()) for pump in pumps[1:]}
        show_front(self.console, view, str(self.output))
        for name, trouble in troubles.items():
            if trouble:
                self.console.print(
                    f"{name} lacks the end of this search ({trouble}); the record and the files have all of it."
                )
        if view.outcome != "complete":
            self.console.print(f"{view.outcome}: the same command with --resume goes on from here")
        self.record.close()
        self.lock.release()
        return EXIT_CODES.get(view.outcome, 0)

    def _last(self) -> int:
        events = self.record.all()
        return events[-1].sequence if events else 0

    def _sampler(self) -> SearchSampler:
        space, plan = self.plan.space, self.plan
        settings = Settings(dimensions(space, plan.encoder.layers), self._canonical, plan.max_params)
        first = [*plan.warm_start, *(settings.start_points() if space.sampler.start_points else [])]
        proposed = [one for number, one in sorted(self.history.trials.items()) if number != HEAD_ONLY]
        return SearchSampler(settings, space.sampler, plan.seed, first, map(self._tried, proposed))

    def _study(self) -> StudySink:
        return StudySink(self.record.url, dimensions(self.plan.space, self.plan.encoder.layers))

    def _tried(self, one: TrialHistory) -> Tried:
        source = one if one.duplicate_of is None else self.history.trials[one.duplicate_of]
        state = TrialState.STOPPED if one.refused else source.state
        return Tried(one.number, one.proposal, state, source.score, one.configuration.parameters)

    def _canonical(self, proposal: Parameters) -> Configuration:
        return canonical(
            self.plan.space, proposal, self.prepared.spectra, self.plan.encoder.layers, self.plan.encoder.parameters
        )

    def _end(self, outcome: str, started: float, spent: dict[str, float]) -> FrontView:
        """Scores the report split once for the controls and the members, writes the files, closes the record."""
        began, ending = time.monotonic(), Ending(self.plan, self.record, self.history, self.scorer)
        members = ending.score(with_report=outcome in {"complete", "time limit"})
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


@contextmanager
def _interrupts(interrupt: Callable[[str], None]) -> Iterator[None]:
    """Turns the first SIGINT or SIGTERM into a clean end; a second one ends at once."""
    seen: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        interrupt(f"interrupted by {signal.Signals(number).name}")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
