"""Which member of a front is meant: the best, the best under a size, or a trial by its number."""

from qrlora_search.app.front_view import FrontView, MemberView
from qrlora_search.record.history import History, TrialHistory
from qrlora_search.values.errors import UserError
from qrlora_search.values.states import TrialState


def pick_member(view: FrontView, under: int | None, output: str) -> MemberView:
    """Returns the member with the highest score on the selection split, of at most `under` parameters if given."""
    if not view.members:
        raise UserError(
            f"OUTPUT {output!r} has an empty front: no trial was better than the control; "
            "name a Finished one with --trial, or search on with a larger --budget"
        )
    allowed = [one for one in view.members if under is None or one.parameters <= under]
    if not allowed:
        smallest = min(one.parameters for one in view.members)
        raise UserError(f"--under {under}: the smallest member of the front has {smallest} parameters; allow as many")
    return max(allowed, key=lambda one: one.selection.score)


def find_finished(history: History, number: int) -> TrialHistory:
    """Returns a Finished trial by its number."""
    one = history.trials.get(number)
    finished = [trial.number for trial in history.in_state(TrialState.FINISHED)]
    if one is None or number not in finished:
        state = "is not in this search" if one is None else f"is {one.state or 'not ended'}"
        known = f"the Finished trials are {', '.join(map(str, finished))}" if finished else "no trial is Finished yet"
        raise UserError(f"--trial {number} {state}: only a Finished trial can be exported; {known}")
    return one
