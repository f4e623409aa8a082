"""How far a front can be trusted: its confirmation, the winner's curse, and what must be said wherever it is shown."""

from statistics import stdev

from qrlora_search.app.front_view import CandidateView, ConfirmationView, MemberView
from qrlora_search.app.views.candidates import Standing
from qrlora_search.describe.plan import ON_VALIDATION, STAND_IN
from qrlora_search.record.confirmation import Point

UNCONFIRMED = "UNCONFIRMED"
PARTLY = "PARTLY CONFIRMED"


def confirmation_view(standing: Standing, members: list[MemberView]) -> ConfirmationView:
    """Returns how a front was confirmed, with every candidate; unconfirmed, with the reason."""
    confirmation, plan = standing.confirmation, standing.plan
    points = confirmation.candidates if standing.is_confirmed else [one.point for one in standing.raw_front()]
    candidates = [_candidate(standing, point) for point in points]
    shown = [one for one in candidates if one.confirmed is not None]
    apart = _splits_apart(standing)
    reported = [one.first.score - standing.lead - one.report[0].score - (apart or 0.0) for one in members if one.report]
    return ConfirmationView(
        status="confirmed" if standing.is_confirmed else "unconfirmed",
        reason=confirmation.reason if standing.is_confirmed else why_not(standing),
        share=plan.space.confirm.share,
        search_epochs=search_epochs(standing),
        epochs_allowed=confirmation.allowed,
        epochs_spent=confirmation.epochs,
        seeds=sorted({run.seed for run in confirmation.runs.values()}),
        warmups=plan.space.confirm.warmups,
        candidates=candidates,
        curse=_mean([one.first - standing.lead - (one.confirmed or 0.0) for one in shown]),
        curse_report=_mean(reported),
        splits_apart=apart,
        lead=standing.lead,
    )


def _splits_apart(standing: Standing) -> float | None:
    """Returns how far the better control's score on the selection split is above that on the first report split."""
    control, split = standing.better_control, standing.task.report_splits[0]
    if not standing.scores(control, split):
        return None
    return standing.control_score(control) - standing.metrics(control, split)[standing.task.objective]


def search_epochs(standing: Standing) -> int:
    """Returns the epochs that the search's own trials trained."""
    return sum(len(trial.reports) for trial in standing.history.searched)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _candidate(standing: Standing, point: Point) -> CandidateView:
    confirmed = standing.is_confirmed and point in standing.confirmed
    member = point in [one.point for one in standing.members]
    score = None
    if confirmed:
        place = len(standing.control_points) + standing.contenders.index(point)
        score = float(standing.selection.values_P[place])
    reason = "" if not standing.is_confirmed else standing.fault(point)
    if confirmed and not member:
        reason = "with further seeds a smaller one, or the control, scores no less"
    return CandidateView(
        trial=point[0],
        kept=point[1],
        parameters=standing.parameters(point),
        first=standing.score_of(standing.brought_in(point)),
        confirmed=score,
        seeds=len(standing.scores(point, "selection")) if confirmed else 0,
        probability=standing.probabilities[point] if confirmed else None,
        member=member,
        reason=reason,
    )


def why_not(standing: Standing) -> str:
    """Returns why a front is not confirmed."""
    confirmation, confirm = standing.confirmation, standing.plan.space.confirm
    if confirm.share == 0:
        return "[confirm] share = 0 in the space"
    if not confirmation.closed:
        return "confirmation has not ended"
    faults = [standing.fault(point) for point in confirmation.candidates]
    if any("failed" in fault for fault in faults):
        return f"no candidate could be confirmed: {next(fault for fault in faults if 'failed' in fault)}"
    taken = f", {confirmation.epochs} of them taken already" if confirmation.epochs else ""
    return f"{confirmation.allowed} epochs are allowed for it{taken}: too few to train a candidate"


def marks_of(standing: Standing) -> list[str]:
    """Returns what must be said wherever the front is shown."""
    plan = standing.plan
    marks = [STAND_IN] if plan.stand_in else []
    marks += [ON_VALIDATION] if plan.on_validation else []
    if not standing.is_confirmed:
        return [*marks, UNCONFIRMED]
    return [*marks, _partly(standing)] if standing.untrained else marks


def _partly(standing: Standing) -> str:
    there = len(standing.confirmation.candidates)
    return f"{PARTLY}: {there - len(standing.untrained)} of {there} candidates"


def notes_of(standing: Standing) -> list[str]:
    """Returns what to know about the numbers, in sentences."""
    plan, notes = standing.plan, []
    if plan.stand_in:
        notes.append("STAND-IN: the data are generated and not GLUE; the scores say nothing about the real task.")
    if plan.on_validation:
        notes.append(
            "SELECTED ON THE VALIDATION SET: the report split fed every decision, so its scores flatter the front; "
            "no score here is of examples that nothing was chosen by."
        )
    if standing.is_confirmed:
        notes += _confirmed_notes(standing)
    else:
        notes.append(
            f"UNCONFIRMED ({why_not(standing)}): members are chosen by single selection scores, which flatter them."
        )
    if not plan.on_validation:
        notes.append("The report split fed no decision.")
    notes.append(_warm_up_note(standing))
    notes.append("Parameters are the adapter's; the warm-up trained every weight of the model first.")
    return notes


def _warm_up_note(standing: Standing) -> str:
    count, trusted = len(standing.plan.warm_up_seeds), standing.is_confirmed
    if count == 1 or not trusted:
        return (
            "Intervals are conditional on this one warm-up: variation between warm-ups is not in them. "
            "The warm-up control has no seeds: its variation is over examples."
        )
    spread = stdev(standing.levels)
    used = sorted({run.warm_up + 1 for run in standing.confirmation.runs.values()})
    lacking = f"Further trainings stand on warm-up {' and '.join(map(str, used))} alone: the epochs did not suffice."
    return (
        f"Confirmation repeats the warm-up: {count} of them, whose controls' scores have a standard deviation of "
        f"{spread:.4f}. That is in the intervals of scores and in no difference: what stands on a warm-up is moved by "
        "what its control is above their mean. The search itself, and the exported adapters, stand on the first."
        + (f" {lacking}" if used and len(used) < count else "")
    )


def _confirmed_notes(standing: Standing) -> list[str]:
    spread, freedom = standing.selection.spread, standing.selection.freedom
    seeds = (
        f"one seed's standard deviation is {spread:.4f} ({freedom} degree{'s' if freedom != 1 else ''} of freedom)"
        if spread is not None
        else "no candidate was trained twice, so no interval has seeds in it"
    )
    lacking = (
        f"{_partly(standing)} were trained again before the epochs for it were used up; the others may be members, "
        "too, and the hypervolume is without them. A larger [confirm] share trains all."
    )
    return [
        *([lacking] if standing.untrained else []),
        "Members are chosen by trainings with further seeds, scored on the selection split; the score that brought a "
        f"member in counts for nothing. A seed moves the order of batches alone"
        f"{', and its turn of the warm-ups' if standing.selection.warm_ups > 1 else ''}; {seeds}.",
        "Report scores are means over the further seeds' adapters; the adapter that is exported is the trial's own.",
    ]
