"""Records complete learning curves of random configurations as a table of numbers, without texts.

    python -m tests.benchmarks.record_curves --task mrpc --data "$GLUE" --train-limit 1000

Random configurations are trained to their end in parts of --part, each a search without rungs; a part that has ended
joins the table, so that it can be kept and the same command goes on from there, also on another machine of the kind:
where the warm-up comes out otherwise (its control predicts otherwise) nothing is joined. Killed, the same command goes
on. A trial that failed is kept with the epochs before, if any; one whose worker was lost for good, or that was silent
for too long, is left out, since that says nothing of its configuration. The table says what it was made with; `asked`
counts the configurations drawn for it.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from qrlora_search.adapters.optuna_search.proposers import OptunaProposer, sampler_of
from qrlora_search.adapters.simulated.curves import Curve, Curves, load_curves, save_curves
from qrlora_search.app.console import make_console
from qrlora_search.app.loop import MOST_RETRIES
from qrlora_search.app.output import open_output
from qrlora_search.app.planning import Planned, plan_search
from qrlora_search.app.reading import read_search
from qrlora_search.app.request import SearchRequest, check_request
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.proposals import dimensions
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.tasks import find_task
from qrlora_search.describe.tried import Seen
from qrlora_search.method.machine import cpus_here
from qrlora_search.record.confirmation import ReportLine
from qrlora_search.record.history import History, TrialHistory
from qrlora_search.values.states import Report, TrialState

HERE = Path(__file__).parent / "curves"
SPACE = HERE / "complete.toml"
CHANGES = {"configurations", "asked", "date"}


def of_its_worker(trial: TrialHistory) -> bool:
    """Return whether a trial failed for what says nothing of its configuration."""
    return len(trial.retries) >= MOST_RETRIES or "report_timeout_s" in trial.reason


def report_of(line: ReportLine) -> Report:
    """Return a report as it was sent, without weights."""
    return Report(line.epoch, line.score, line.loss, line.seconds, line.packed, line.metrics)


def table_of(history: History, plan: SearchPlan, asked: int) -> Curves:
    """Return the curves of all trials that ended. asked: configurations drawn for the table, with these."""
    task = find_task(plan.task)
    curves = []
    for trial in history.searched:
        reports = tuple(report_of(line) for line in trial.reports)
        if trial.duplicate_of is not None:
            continue
        if trial.state is TrialState.FINISHED:
            curves.append(Curve(trial.configuration, trial.proposal, reports))
        elif trial.state is TrialState.FAILED and reports and not of_its_worker(trial):
            curves.append(Curve(trial.configuration, trial.proposal, reports, len(reports) + 1))
    scored = history.scored[None, "selection"]
    control = Report(0, scored.metrics[task.objective], scored.loss, 0.0, scored.packed)
    facts = {
        "task": plan.task, "stand-in": plan.stand_in, "model": plan.model.name, "model_hash": plan.model.fingerprint,
        "data_hash": plan.data.fingerprint, "train": plan.counts.train, "selection": plan.counts.selection,
        "train_limit": plan.train_limit, "seed": plan.seed, "precision": plan.precision, "objective": task.objective,
        "configurations": len(curves), "asked": asked, "date": history.opened_at[:10],
    }  # fmt: skip
    labels = history.labels["selection"]
    return Curves(plan.task, task.statistic, plan.encoder.parameters, labels, control, tuple(curves), facts)


def joined(kept: Curves | None, new: Curves) -> Curves:
    """Return a table with the curves of one more part. Raises SystemExit where it was made otherwise."""
    if kept is None:
        return new
    differ = {one for one in new.facts.keys() - CHANGES if kept.facts.get(one) != new.facts[one]}
    if differ or kept.labels != new.labels:
        raise SystemExit(f"the table has another {', '.join(sorted(differ)) or 'label'}: ask as then, or take it away")
    if kept.control.packed != new.control.packed:
        raise SystemExit(
            "the warm-up is another one than the table's (another kind of processor?): take the table away"
        )
    more = [one for one in new.curves if one.configuration.identity not in kept.by_identity]
    curves = (*kept.curves, *more)
    return replace(new, curves=curves, facts=new.facts | {"configurations": len(curves)})


def drawn(planned: Planned, first: int, count: int) -> tuple[Parameters, ...]:
    """Return so many random proposals from the one numbered `first` on: the same whatever was drawn before."""
    plan = planned.plan
    make = partial(sampler_of, plan.space.sampler)
    proposer = OptunaProposer(dimensions(plan.space, plan.encoder.layers), make, plan.seed)
    return tuple(proposer.propose(number, Seen(plan.seed)) for number in range(first, first + count))


def planned_part(asked: argparse.Namespace, first: int) -> Planned:
    """Return the search that trains a part of the table, from the proposal numbered `first` on."""
    output = asked.output / asked.task / f"from-{first}"
    request = SearchRequest(
        asked.task, 1, asked.model, asked.data, space=str(SPACE), output=str(output),
        resume=True, train_limit=asked.train_limit, tracking_uri=f"sqlite:///{asked.output.resolve()}/mlflow.db",
    )  # fmt: skip
    planned = plan_search(check_request(request))
    proposals = drawn(planned, first, min(asked.part, asked.count - first))
    return replace(planned, plan=planned.plan.model_copy(update={"warm_start": proposals, "budget": len(proposals)}))


def main() -> None:
    """Record and keep, part after part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--train-limit", type=int, default=2000)
    parser.add_argument("--count", type=int, default=155, help="configurations of the whole table")
    parser.add_argument("--part", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("runs/curves"))
    parser.add_argument("--to", type=Path, default=HERE)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    from qrlora_search.adapters.ray_engine.cluster import ray_running
    from qrlora_search.app.run_search import run_on_ray

    with ray_running(None, cpus_here()):
        while True:
            there = (asked.to / f"{asked.task}.json").is_file()
            kept = load_curves(asked.to, asked.task) if there else None
            first = kept.facts.get("asked", len(kept.curves)) if kept else 0
            if first >= asked.count:
                break
            planned = planned_part(asked, first)
            if open_output(planned, resume=True) != "finished" and run_on_ray(planned, make_console()):
                raise SystemExit("the same command goes on from here")
            history, plan = read_search(planned.output, "OUTPUT")
            table = joined(kept, table_of(history, plan, first + planned.plan.budget))
            save_curves(table, asked.to)
            print(f"{len(table.curves)} curves of {table.epochs} epochs kept in {asked.to / table.name}.csv")


if __name__ == "__main__":
    main()
