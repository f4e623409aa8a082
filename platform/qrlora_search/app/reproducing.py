"""The paper's table for a task: every row trained from several warm-ups, scored on the report split, with intervals.

Each seed is a search of its own over fixed proposals, with its own warm-up, draw of train (all of it where it has no
more rows) and order of batches, in a folder of its own that a second run goes on with. Nothing is selected here, so
every row is scored on the report split.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from qrlora_search.app.console import show_plan
from qrlora_search.app.delivery import deliver_again
from qrlora_search.app.output import check_places, held, open_output
from qrlora_search.app.planning import Planned, plan_search
from qrlora_search.app.reading import read_search
from qrlora_search.app.request import RUNS, Checked, SearchRequest, check_request
from qrlora_search.app.scoring import Scorer, Weights
from qrlora_search.describe.presets import PAPER_ROWS, PRESETS, Preset, paper_space
from qrlora_search.method.fine_tuning import WarmUpJob
from qrlora_search.prepare.preparation import Prepared, State, Told, prepare
from qrlora_search.prepare.store import Store, default_root
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.history import History, TrialHistory
from qrlora_search.values.errors import UserError
from qrlora_search.values.states import TrialState


@dataclass(frozen=True)
class ReproduceRequest:
    """The options of `reproduce`, as typed. tasks: one, or all eight. sizes: rows of train, None for the paper's."""

    tasks: tuple[str, ...]
    seeds: int = 5
    sizes: tuple[int | None, ...] = (None,)
    model: str = "auto"
    data: str = "auto"
    space: str | None = None
    output: str | None = None
    tracking_uri: str | None = None
    dry_run: bool = False

    @property
    def folder(self) -> Path:
        """Returns where everything goes."""
        name = self.tasks[0] if len(self.tasks) == 1 else "all"
        return Path(self.output) if self.output else RUNS / f"reproduce-{name}"


@dataclass(frozen=True)
class Group:
    """A task at one size of train: what the searches of its seeds need. planned: by seed."""

    task: str
    size: int | None
    presets: tuple[Preset, ...]
    planned: dict[int, Planned]


def check_reproduce(request: ReproduceRequest) -> list[Checked]:
    """Returns the searches that a request stands for, a task, size and seed each; raises UserError. Touches nothing."""
    if request.seeds < 1:
        raise UserError(f"--seeds {request.seeds} is out of range: warm-ups a row; use a whole number from 1")
    found = []
    for task in request.tasks:
        for size in request.sizes:
            for seed in range(request.seeds):
                place = request.folder / (task if size is None else f"{task}-{size}") / f"seed-{seed}"
                one = SearchRequest(
                    task, len(PRESETS), request.model, request.data, request.space, seed, str(place), resume=True,
                    tracking_uri=request.tracking_uri, train_limit=size or PAPER_ROWS,
                )  # fmt: skip
                checked = check_request(one)
                found.append(replace(checked, space=paper_space(checked.space)))
    return found


def plan_group(checked: list[Checked]) -> Group:
    """Returns the plans of one task and size, a seed each."""
    planned: dict[int, Planned] = {}
    presets: tuple[Preset, ...] = ()
    for one in checked:
        plain = plan_search(one)
        depth = plain.plan.encoder.layers
        presets = distinct(depth)
        proposals = tuple(preset.proposal(one.space, depth) for preset in presets)
        plan = plain.plan.model_copy(update={"warm_start": proposals, "budget": len(proposals)})
        planned[plan.seed] = replace(plain, plan=plan)
    task, size = checked[0].task.name, checked[0].request.train_limit
    return Group(task, None if size == PAPER_ROWS else size, presets, planned)


def distinct(depth: int) -> tuple[Preset, ...]:
    """Returns the rows that differ on a model of this depth: a shallow one may have one layer for the last four."""
    return tuple(preset for preset, first in _with_first(depth) if preset is first)


def left_out(depth: int) -> list[tuple[str, str]]:
    """Returns the rows that are the same as an earlier one on a model of this depth: both names."""
    return [(preset.name, first.name) for preset, first in _with_first(depth) if preset is not first]


def _with_first(depth: int) -> list[tuple[Preset, Preset]]:
    """Returns every row with the first that trains the same on a model of this depth; most often itself."""
    firsts: dict[tuple[str, str, int], Preset] = {}
    return [
        (preset, firsts.setdefault((preset.method, preset.matrices, preset.layers(depth)), preset))
        for preset in PRESETS
    ]


def run_groups(groups: list[Group], console: Console) -> int:
    """Runs what is not there yet on one Ray, and returns an exit code."""
    from qrlora_search.adapters.ray_engine.cluster import ray_running
    from qrlora_search.app.run_search import run_on_ray
    from qrlora_search.method.machine import cpus_here

    plans = [planned for group in groups for planned in group.planned.values()]
    missing = [planned for planned in plans if open_output(planned, resume=True) != "finished"]
    if not missing:
        return 0
    for planned in missing:
        check_places(planned)
    with ray_running(None, max(cpus_here(), *(planned.plan.concurrency or 1 for planned in missing))):
        for number, planned in enumerate(missing, start=1):
            console.print(f"{number} of {len(missing)}: {planned.plan.task}, seed {planned.plan.seed}")
            if number == 1:
                show_plan(console, planned.plan)
            code = run_on_ray(planned, console)
            if code:
                return code
    return 0


def score_all(planned: Planned, console: Console) -> History:
    """Returns the state of a search with every Finished trial scored on the report splits; what is scored stays so."""
    plan, folder = planned.plan, planned.output
    history, _ = read_search(folder, "--output")
    missing = [
        (one, split)
        for one in history.in_state(TrialState.FINISHED)
        for split in plan.counts.report
        if (one.number, split) not in history.scored
    ]
    if not missing:
        return history
    scorer = Scorer(prepared_again(planned).materials, Weights(folder), plan.seed)
    with held(folder):
        record = Record(record_url(folder))
        for trial, split in missing:
            history.apply(record.append("scored", scorer.score(trial, split), trial.number))
        record.close()
        deliver_again(plan, planned.tracking, folder, console)
    return history


def prepared_again(planned: Planned) -> Prepared:
    """Returns what a search had prepared, from the cache; raises UserError where its warm-up is no longer there."""

    def refuse(_job: WarmUpJob, _told: Told) -> State:
        raise UserError(
            f"the warm-up of {str(planned.output)!r} is no longer in the cache; remove that folder and run again"
        )

    return prepare(planned.plan, planned.splits, Store(default_root()), refuse, lambda _: None)


def trial_of(history: History, planned: Planned, preset: Preset) -> TrialHistory | None:
    """Returns the Finished trial that a row became, or None where it failed."""
    proposal = preset.proposal(planned.plan.space, planned.plan.encoder.layers)
    for one in history.trials.values():
        if one.proposal == proposal:
            trial = one if one.duplicate_of is None else history.trials[one.duplicate_of]
            return trial if trial.state is TrialState.FINISHED else None
    return None
