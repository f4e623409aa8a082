"""The bill: epochs and core- or GPU-seconds spent and saved, from the record alone."""

from collections.abc import Iterator

from qrlora_search.app.cost import states_fit
from qrlora_search.app.front_view import BillLine, BillView
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.record.confirmation import ReportLine
from qrlora_search.record.history import HEAD_ONLY, History, TrialHistory
from qrlora_search.values.states import TrialState


def bill_view(history: History, plan: SearchPlan) -> BillView:
    """Returns what the search cost and what stopping, duplicates and constant states saved, which are estimates."""
    gpu = plan.gpus_per_trial > 0
    rate = plan.gpus_per_trial if gpu else float(history.threads)
    lines = [*_spent(history, plan, rate), *_saved(history, plan, rate)]
    counted = [line for line in lines if line.kind == "saved" or line.name == "trials"]
    return BillView(
        unit="GPU-seconds" if gpu else "core-seconds",
        lines=lines,
        counterfactual_epochs=sum(line.epochs for line in counted),
        counterfactual_seconds=sum(line.seconds for line in counted),
    )


def _spent(history: History, plan: SearchPlan, rate: float) -> Iterator[BillLine]:
    lines = [line for trial in history.searched for line in trial.reports]
    yield _line("trials", "spent", len(lines), rate * _seconds(lines), "training and scoring")
    head_only = history.trials.get(HEAD_ONLY)
    if head_only is not None:
        own = head_only.reports
        yield _line("head-only control", "spent", len(own), rate * _seconds(own), "trained like a trial")
    again = [line for run in history.confirmation.runs.values() for line in run.reports] + history.confirmation.lost
    yield _line("confirmation", "spent", len(again), rate * _seconds(again), "front and control with further seeds")
    prepared, warm_ups = history.preparation_s, len(plan.warm_up_seeds)
    words = "warm-up and bases where not in the cache: wall time, all cores or GPUs"
    words += f"; {warm_ups - 1} of the {warm_ups} warm-ups are for confirmation alone" if warm_ups > 1 else ""
    yield _line("preparation", "spent", 0, prepared, words, estimated=True)


def _saved(history: History, plan: SearchPlan, rate: float) -> Iterator[BillLine]:
    stopped = [(one, one.configuration.epochs - len(one.reports)) for one in history.in_state(TrialState.STOPPED)]
    seconds = rate * sum(left * _mean_epoch(one) for one, left in stopped)
    words = f"{len(stopped)} trials stopped: the epochs left, at each one's own seconds an epoch"
    yield _line("stopping", "saved", sum(left for _, left in stopped), seconds, words, estimated=True)
    answered = [history.trials[one.duplicate_of] for one in history.trials.values() if one.duplicate_of is not None]
    seconds = rate * sum(len(one.reports) * _mean_epoch(one) for one in answered)
    words = f"{len(answered)} duplicates answered: what training the first one of each took"
    yield _line("duplicates", "saved", sum(len(one.reports) for one in answered), seconds, words, estimated=True)
    fits = states_fit(plan)
    trained = [(one, line) for one in history.searched for line in one.reports]  # confirmation is in no counterfactual
    saved = sum(
        max(0.0, (line.seconds - line.states_s) * _states_share(one, plan) - line.states_s) for one, line in trained
    )
    words = (
        "layers below the lowest adapted one, not run again: their multiply-adds at the speed of each trial's others"
        if fits
        else "none were kept: they did not fit"
    )
    yield _line("constant states", "saved", 0, rate * saved if fits else 0.0, words, estimated=True)


def _states_share(one: TrialHistory, plan: SearchPlan) -> float:
    """Returns the work on constant layers over the work that was done: forward alone, against forward and backward of
    train and forward of selection in the layers from the lowest adapted one up.
    """
    lowest, depth = one.configuration.lowest_layer, plan.encoder.layers
    if lowest is None:
        lowest = depth - 1
    train, scored = plan.counts.train, plan.counts.selection
    return (train + scored) * lowest / ((2 * train + scored) * (depth - lowest))


def _seconds(lines: list[ReportLine]) -> float:
    return sum(line.seconds for line in lines)


def _mean_epoch(one: TrialHistory) -> float:
    """Returns an epoch's seconds, without what was made once for all: constant states."""
    return sum(line.seconds - line.states_s for line in one.reports) / len(one.reports) if one.reports else 0.0


def _line(name: str, kind: str, epochs: int, seconds: float, words: str, *, estimated: bool = False) -> BillLine:
    return BillLine(
        name=name,
        kind="spent" if kind == "spent" else "saved",
        epochs=epochs,
        seconds=seconds,
        estimated=estimated,
        words=words,
    )
