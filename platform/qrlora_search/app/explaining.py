"""What happened to one trial and why, from the record alone."""

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from qrlora_search.app.reading import read_search
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.record.history import HEAD_ONLY, History, TrialHistory
from qrlora_search.values.errors import UserError

CONTROL = "control"


def find_trial(history: History, asked: str) -> TrialHistory:
    """Returns the trial of a number, or the head-only control for `control`; raises UserError for an unknown one."""
    proposed = sorted(number for number in history.trials if number != HEAD_ONLY)
    known = f"the proposals are {proposed[0]} to {proposed[-1]}" if proposed else "nothing was proposed yet"
    if HEAD_ONLY in history.trials:
        known += f", and `{CONTROL}`"
    number = HEAD_ONLY if asked == CONTROL else int(asked) if asked.isdecimal() else None
    if number is None or number not in history.trials:
        raise UserError(f"TRIAL {asked!r} is not in this search: {known}")
    return history.trials[number]


def explain(output: Path, asked: str, console: Console) -> None:
    """Prints one trial: its configuration, each epoch with the rule's words, and how it ended."""
    history, plan = read_search(output, "OUTPUT")
    one = find_trial(history, asked)
    console.print(_title(one, plan), markup=False)
    for line in _facts(one):
        console.print(line, markup=False)
    if one.reports:
        console.print(_epochs(one, plan))
    console.print(_ending(one, history), markup=False)


def _title(one: TrialHistory, plan: SearchPlan) -> str:
    name = "head-only control" if one.number == HEAD_ONLY else f"trial {one.number}"
    return (
        f"{name} of the search over {plan.title}: {one.configuration.words}, {one.configuration.parameters} parameters"
    )


def _facts(one: TrialHistory) -> list[str]:
    what = one.configuration
    ranks = " ".join(f"{each.matrix}{each.layer}:{each.rank}" for each in what.ranks) or "none"
    tau = one.proposal.get("tau")
    lines = [f"ranks by matrix and layer: {ranks}" + (f" (tau {float(tau):.3g})" if tau is not None else "")]
    head = f", head trained at {what.head_learning_rate:g}" if what.head == "trained" else ", head frozen"
    lines.append(f"learning rate {what.learning_rate:g}, batch {what.batch_size}, {what.epochs} epochs{head}")
    return lines


def _epochs(one: TrialHistory, plan: SearchPlan) -> Table:
    table = Table(pad_edge=False)
    for name in ("epoch", "score", "held-out loss", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("what the rule said" + (" (stand-in data)" if plan.stand_in else ""), overflow="fold")
    for line in one.reports:
        loss = "-" if math.isnan(line.loss) else f"{line.loss:.4f}"
        said = line.decision + (f"; taken up again: {one.promoted[line.epoch]}" if line.epoch in one.promoted else "")
        table.add_row(str(line.epoch), f"{line.score:.4f}", loss, f"{line.seconds:.1f}", said)
    return table


def _ending(one: TrialHistory, history: History) -> str:
    if one.refused:
        return f"not started: {one.reason}"
    if one.duplicate_of is not None:
        of = history.trials[one.duplicate_of]
        state = of.state or "not ended"
        return f"not started: {one.reason}, which is {state}" + (f": {of.reason}" if of.reason else "")
    if one.state is None:
        return "not ended: it runs, or the search was interrupted" if one.started else "not started yet"
    return f"{one.state}: {one.reason}"
