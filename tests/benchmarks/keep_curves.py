"""Keeps the learning curves of a search without rungs as a table of numbers, without texts.

    python -m platform.search --task cola --data "$GLUE" --train-limit 2000 --budget 150 \
        --space tests/benchmarks/curves/complete.toml --output runs/curves-cola --resume
    python -m tests.benchmarks.keep_curves runs/curves-cola [--to tests/benchmarks/curves]

The search trains random configurations to their end. It may be interrupted and goes on with --resume; what has ended
can be kept at any time. A trial that failed is kept with the epochs before; one whose worker was lost is left out,
since that says nothing of its configuration. The table says what it was made with.
"""

import argparse
from pathlib import Path

from qrlora_search.adapters.simulated.curves import Curve, Curves, save_curves
from qrlora_search.app.reading import read_search
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.tasks import find_task
from qrlora_search.record.confirmation import ReportLine
from qrlora_search.record.history import History
from qrlora_search.values.states import Report, TrialState

LOST = "the worker died"
HERE = Path(__file__).parent / "curves"


def report_of(line: ReportLine) -> Report:
    """Return a report as it was sent, without weights."""
    return Report(line.epoch, line.score, line.loss, line.seconds, line.packed, line.metrics)


def table_of(history: History, plan: SearchPlan) -> Curves:
    """Return the curves of all trials that ended."""
    task = find_task(plan.task)
    curves = []
    for trial in history.searched:
        reports = tuple(report_of(line) for line in trial.reports)
        if trial.state is TrialState.FINISHED:
            curves.append(Curve(trial.configuration, trial.proposal, reports))
        elif trial.state is TrialState.FAILED and reports and LOST not in trial.reason:
            curves.append(Curve(trial.configuration, trial.proposal, reports, len(reports) + 1))
    scored = history.scored[None, "selection"]
    control = Report(0, scored.metrics[task.objective], scored.loss, 0.0, scored.packed)
    facts = {
        "task": plan.task, "stand-in": plan.stand_in, "model": plan.model.name, "model_hash": plan.model.fingerprint,
        "data_hash": plan.data.fingerprint, "train": plan.counts.train, "selection": plan.counts.selection,
        "train_limit": plan.train_limit, "seed": plan.seed, "precision": plan.precision, "objective": task.objective,
        "configurations": len(curves), "date": history.opened_at[:10],
    }  # fmt: skip
    labels = history.labels["selection"]
    return Curves(plan.task, task.statistic, plan.encoder.parameters, labels, control, tuple(curves), facts)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--to", type=Path, default=HERE)
    wanted = parser.parse_args()
    history, plan = read_search(wanted.output, "OUTPUT")
    if plan.space.training.rungs:
        parser.error(f"{wanted.output} is a search that stopped trials; its curves are not complete")
    table = table_of(history, plan)
    save_curves(table, wanted.to)
    size = (wanted.to / f"{table.name}.csv").stat().st_size
    print(
        f"{len(table.curves)} curves of {table.epochs} epochs kept in {wanted.to / table.name}.csv, {size / 1e3:.0f} kB"
    )


if __name__ == "__main__":
    main()
