"""What a sweep would do: its searches, what is cached or done, and what it may cost, from the least to the most."""

from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from qrlora_search.app.console import make_console
from qrlora_search.app.cost import SHARE_OF_EPOCHS, expected_seconds, measured_speed
from qrlora_search.app.sweep_budget import plan_round, turn_of
from qrlora_search.app.sweep_jobs import begin, check_jobs, plan_job
from qrlora_search.app.sweep_place import check_home, name_database
from qrlora_search.app.sweep_record import Entry, SweepRecord, check_same, choose_slot, load_record, new_record
from qrlora_search.describe.sweep import Job, SweepSpec, load_sweep
from qrlora_search.prepare.preparation import to_make
from qrlora_search.prepare.store import Store, default_root
from qrlora_search.record.storage import has_record
from qrlora_search.values.errors import UserError


def show_sweep(path: Path, slot: str | None) -> int:
    """Prints the plan of a sweep and returns 0, or 1 where a search cannot be planned. Starts and writes nothing."""
    spec, console = load_sweep(path), make_console()
    name_database(spec)
    check_jobs(spec)
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
    least = most = 0.0
    for job in spec.jobs():
        cells, low, high = _row(spec, job, record.entries[job.key])
        table.add_row(*cells)
        least, most = least + low, most + high
    console.print(table)
    console.print(f"this round about {least / 60:.1f} to {most / 60:.1f} min on this machine's threads (rough)")
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


def _row(spec: SweepSpec, job: Job, entry: Entry) -> tuple[list[str], float, float]:
    """Returns the cells of a search, and its least and most seconds of this round."""
    if entry.state in {"failed", "skipped"}:
        return [job.key, job.data, f"{entry.state}: {entry.reason}", "", "", "", ""], 0.0, 0.0
    turn, store = turn_of(spec, entry), Store(default_root())
    if turn is None:
        return [job.key, job.data, entry.state, "nothing", "", "", ""], 0.0, 0.0
    planned = plan_job(spec, job, turn, entry)
    plan = planned.plan
    warm_ups, bases = to_make(plan, planned.splits, store)
    cached = f"{'to make' if warm_ups else 'cached'}, {'to make' if bases else 'cached'}"
    warm_up, trials = expected_seconds(plan, measured_speed(plan.precision))
    todo = max(0, plan.budget - entry.configurations)
    whole = trials / SHARE_OF_EPOCHS * todo / plan.budget
    low = warm_ups * warm_up + whole / max(1, plan.space.training.epochs)
    high = warm_ups * warm_up + whole
    if turn.seconds is not None:
        low, high, amount = min(low, turn.seconds), turn.seconds, f"{turn.seconds:.0f} s"
    else:
        amount = f"{todo} configurations"
    state = "unfinished" if has_record(Path(entry.output)) and not entry.deepened else entry.reason or "new"
    return [job.key, f"{plan.data.name} ({plan.data.kind})", state, amount, cached, f"{low / 60:.1f} min",
            f"{high / 60:.1f} min"], low, high  # fmt: skip
