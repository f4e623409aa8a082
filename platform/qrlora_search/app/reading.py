"""Reading the record of a search that is there already."""

from pathlib import Path

from qrlora_search.describe.plan import SearchPlan
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.history import History, history_of
from qrlora_search.record.storage import has_record
from qrlora_search.values.errors import UserError


def read_search(folder: Path, option: str) -> tuple[History, SearchPlan]:
    """Returns the state and the plan of the search in an output folder; raises UserError where there is none.

    option: what the user named the folder with.
    """
    if not has_record(folder):
        kind = "is no search's output" if folder.is_dir() else "does not exist"
        raise UserError(f"{option} {str(folder)!r} {kind}: it has no record.db; name a folder that --output made")
    record = Record(record_url(folder))
    history = history_of(record.all())
    record.close()
    if history.plan is None:
        raise UserError(f"{option} {str(folder)!r} holds a record without a plan; remove the folder or name another")
    return history, history.plan
