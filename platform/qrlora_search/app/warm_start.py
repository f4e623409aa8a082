"""The front of an earlier search as first proposals of a new one."""

from pathlib import Path

from qrlora_search.app.reading import read_search
from qrlora_search.app.views.candidates import members_of
from qrlora_search.describe.proposals import fits
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.space import SearchSpace
from qrlora_search.values.errors import UserError


def front_proposals(folder: str | None, space: SearchSpace, depth: int) -> tuple[Parameters, ...]:
    """Returns the proposals of an earlier search's front that are in a space, smallest first; none without a folder.

    Raises UserError where the folder is no search's, or where nothing of its front can be tried.
    """
    if folder is None:
        return ()
    history, _ = read_search(Path(folder), "--warm-start")
    if (None, "selection") not in history.scored:
        raise UserError(f"--warm-start {folder!r}: that search had not begun its trials; name one that has a front")
    trials = dict.fromkeys(trial for trial, _ in members_of(history))
    members = [history.trials[number].proposal for number in trials]
    found = tuple(one for one in members if fits(space, depth, one))
    if not found:
        what = f"none of its {len(members)} front members is in this space" if members else "its front is empty"
        raise UserError(f"--warm-start {folder!r}: {what}; leave the option out, or name another search")
    return found
