"""Which member of a front is meant: a pick by its name, the best under a size, or a trial by its number."""

from qrlora_search.app.front_view import FrontView, MemberView
from qrlora_search.record.history import History, TrialHistory
from qrlora_search.values.errors import UserError, nearest
from qrlora_search.values.picks import best_under
from qrlora_search.values.states import TrialState

PICKS = ("knee", "best", "one-se", "beats-control")


def pick_member(view: FrontView, pick: str, under: int | None, output: str) -> MemberView:
    """Returns a pick of the front, or the best of at most `under` parameters. Raises UserError where there is none."""
    if pick not in PICKS:
        raise UserError(f"--pick {pick!r} is not known; {nearest(pick, PICKS)}use {', '.join(PICKS)}")
    if not view.members:
        raise UserError(
            f"OUTPUT {output!r} has an empty front: no trial was better than the control; "
            "name a Finished one with --trial, or search on with a larger --budget"
        )
    if under is not None:
        place = best_under(
            [one.parameters for one in view.members], [one.selection.score for one in view.members], under
        )
        if place is None:
            smallest = min(one.parameters for one in view.members)
            raise UserError(
                f"--under {under}: the smallest member of the front has {smallest} parameters; allow as many"
            )
        return view.members[place]
    found = next(one for one in view.picks if one.name == pick)
    if found.trial is None:
        raise UserError(f"--pick {pick!r}: {found.words}; use another pick, or --trial")
    return next(one for one in view.members if (one.trial, one.kept) == (found.trial, found.kept))


def find_finished(history: History, number: int) -> TrialHistory:
    """Returns a Finished trial by its number."""
    one = history.trials.get(number)
    finished = [trial.number for trial in history.in_state(TrialState.FINISHED)]
    if one is None or number not in finished:
        state = "is not in this search" if one is None else f"is {one.state or 'not ended'}"
        known = f"the Finished trials are {', '.join(map(str, finished))}" if finished else "no trial is Finished yet"
        raise UserError(f"--trial {number} {state}: only a Finished trial can be exported; {known}")
    return one
