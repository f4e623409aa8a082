"""What a sweep would do: its searches, what is cached or done, and what it may cost, from the least to the most."""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from qrlora_search.adapters.ray_engine.cluster import check_address
from qrlora_search.app.console import make_console
from qrlora_search.app.cost import SHARE_OF_EPOCHS, expected_seconds, measured_speed
from qrlora_search.app.sweep_budget import check_budget, plan_round, spent, turn_of
from qrlora_search.app.sweep_jobs import Turn, begin, check_jobs, plan_job
from qrlora_search.app.sweep_place import check_home, name_database
from qrlora_search.app.sweep_record import Entry, SweepRecord, check_same, choose_slot, load_record, new_record
from qrlora_search.describe.sweep import Job, SweepSpec, load_sweep
from qrlora_search.prepare.preparation import to_make
from qrlora_search.prepare.store import Store, default_root
from qrlora_search.record.storage import check_storage, has_record
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import expand


def show_sweep(path: Path, slot: str | None) -> int:
    """Prints the plan of a sweep and returns 0, or 1 where a search cannot be planned. Starts and writes nothing."""
    spec, console = load_sweep(path), make_console()
    name_database(spec)
    check_jobs(spec)
    check_budget(spec)
    check_storage()
    if spec.resources.address is not None:
        check_address(expand(spec.resources.address, os.environ, "resources.address"))
    home = check_home(spec)
    chosen = choose_slot(spec, slot, datetime.now(UTC))
    folder = home / chosen
    found = load_record(folder)
    if found is not None and found.ended:
        console.print(f"sweep {spec.name}: {chosen} ended at {found.ended}; {folder / 'report.md'} says how")
        console.print("dry run: nothing was started or written")
        return 0
    record = found or new_record(spec, chosen)
    check_same(record, spec)
    for job in spec.jobs():
        _decide(spec, job, record, folder)
    if not record.planned:
        plan_round(spec, record)
    budget = spec.budget
    console.print(f"sweep {spec.name}, {chosen}: {_state(found)}; compared with {record.base or 'nothing'}")
    console.print(f"budget: {budget.total} {'s' if budget.unit == 'time' else budget.unit} in {budget.rounds} rounds; "
                  f"then {1 - budget.floor:.0%} of a round goes where fronts grow")  # fmt: skip
    table = Table(title="searches", title_justify="left")
    for name in ("search", "data", "state", "this round", "warm-up, bases", "least", "most"):
        table.add_column(name)
    rows = {job.key: _row(spec, job, record.entries[job.key]) for job in spec.jobs()}
    for one in rows.values():
        table.add_row(*one.cells)
    console.print(table)
    least, most = sum(one.least for one in rows.values()), sum(one.most for one in rows.values())
    console.print(f"this round about {least / 60:.1f} to {most / 60:.1f} min on this machine's threads (rough)")
    console.print(whole_in_words(spec, budget.total - spent(spec, record), [one for one in rows.values() if one.open]))
    console.print("dry run: nothing was started or written")
    return 1 if any(one.state == "failed" for one in record.entries.values()) else 0


def _state(found: SweepRecord | None) -> str:
    return "new" if found is None else f"unfinished, in round {found.planned}"


def _decide(spec: SweepSpec, job: Job, record: SweepRecord, folder: Path) -> None:
    entry = record.entries[job.key]
    earlier = load_record(folder.parent / entry.base) if entry.base else None
    if entry.inputs or entry.state == "failed":
        return
    entry.output = str(folder / job.key)
    try:
        begin(spec, job, entry, earlier.entries.get(job.key) if earlier else None)
    except UserError as error:
        entry.state, entry.reason = "failed", str(error)


@dataclass(frozen=True)
class Row:
    """A search in the plan. least, most: its seconds of this round, warm-up included. share: of the budget; warm_up:
    seconds that are to be spent once; epoch: seconds of one; epochs: of a configuration; confirm: what confirmation may
    take, of the epochs. open: it may still get something.
    """

    cells: list[str]
    least: float = 0.0
    most: float = 0.0
    share: float = 0.0
    warm_up: float = 0.0
    epoch: float = 0.0
    epochs: int = 1
    confirm: float = 0.0
    open: bool = False


def whole_in_words(spec: SweepSpec, left: int, rows: list[Row]) -> str:
    """Returns what is left of the budget in minutes, as if all of it were given out by shares."""
    if not rows:
        return "the whole budget: nothing is left to search"
    if spec.budget.unit == "time":
        return f"the whole budget: at most {left / 60:.1f} min, confirmation included"
    shares, once = sum(one.share for one in rows), sum(one.warm_up for one in rows)
    least = left * sum(one.share * one.epoch for one in rows) / shares
    most = least
    if spec.budget.unit == "configurations":  # of which each takes one epoch at least
        most = left * sum(one.share * one.epoch * one.epochs for one in rows) / shares
    return (
        f"the whole budget, {left} {spec.budget.unit} by shares: about {(once + least) / 60:.1f} to "
        f"{(once + most) / 60:.1f} min (rough), and up to {max(one.confirm for one in rows):.0%} more epochs to confirm"
    )


def _row(spec: SweepSpec, job: Job, entry: Entry) -> Row:
    if entry.state in {"failed", "skipped"}:
        return Row([job.key, job.data, f"{entry.state}: {entry.reason}", "", "", "", ""])
    turn, store = turn_of(spec, entry), Store(default_root())
    planned = plan_job(spec, job, turn or Turn(1), entry)
    plan, epochs = planned.plan, max(1, planned.plan.space.training.epochs)
    warm_ups, bases = to_make(plan, planned.splits, store)
    cached = f"{'to make' if warm_ups else 'cached'}, {'to make' if bases else 'cached'}"
    warm_up, trials = expected_seconds(plan, measured_speed(plan.precision))
    once, epoch = warm_ups * warm_up, trials / SHARE_OF_EPOCHS / plan.budget / epochs
    row = Row([job.key, job.data, entry.state, "nothing", "", "", ""], share=spec.share(job.task), warm_up=once,
              epoch=epoch, epochs=epochs, confirm=plan.space.confirm.share, open=not entry.used_up)  # fmt: skip
    if turn is None:
        return row
    todo = max(0, plan.budget - entry.configurations)
    low, high = once + todo * epoch, once + todo * epoch * epochs
    if turn.seconds is not None:
        low, high, amount = min(low, turn.seconds), turn.seconds, f"{turn.seconds:.0f} s"
    else:
        amount = f"{todo} configurations"
    state = "unfinished" if has_record(Path(entry.output)) and not entry.deepened else entry.reason or "new"
    cells = [job.key, f"{plan.data.name} ({plan.data.kind})", state, amount, cached, f"{low / 60:.1f} min",
             f"{high / 60:.1f} min"]  # fmt: skip
    return replace(row, cells=cells, least=low, most=high)
