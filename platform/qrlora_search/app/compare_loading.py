"""What a user names in a comparison, found: output folders, MLflow runs, or all searches of a task."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from qrlora_search.adapters.mlflow_sink.reading import Store
from qrlora_search.app.compare_fronts import Compared
from qrlora_search.app.reading import read_search
from qrlora_search.app.trial_files import TRIALS_FILE, TrialsView, build_trials_view
from qrlora_search.describe.tasks import TASKS
from qrlora_search.values.errors import UserError

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass
class Loader:
    """Loads searches by what they are called; the tracking store is opened where it is needed.

    left_out: of a task's searches, the ones that could not be read, and why.
    """

    tracking_uri: str
    left_out: list[str] = field(default_factory=list)
    _store: Store | None = None

    @property
    def store(self) -> Store:
        """Returns the tracking store."""
        if self._store is None:
            self._store = Store(self.tracking_uri)
        return self._store

    def load(self, names: list[str]) -> list[Compared]:
        """Returns the searches that names stand for, each once. Raises UserError for one that stands for none."""
        found: dict[str, Compared] = {}
        for name in names:
            for one in self._named(name):
                found.setdefault(one.view.search_id, one)
        if len(found) < 2:
            what = ", ".join(one.name for one in found.values()) or "none"
            left_out = f"; left out: {'; '.join(self.left_out)}" if self.left_out else ""
            raise UserError(f"there are not two searches to compare, but {what}; name at least two{left_out}")
        return _named_apart(list(found.values()))

    def _named(self, name: str) -> list[Compared]:
        if Path(name).is_dir():
            return [self._folder(Path(name))]
        if name in TASKS:
            runs = self.store.searches_of(name)
            if not runs:
                raise UserError(f"{name!r}: no search of this task is in the tracking store; run one, or name a folder")
            return self._readable(runs)
        if _RUN_ID.fullmatch(name):
            return [self._run(name)]
        raise UserError(
            f"{name!r} is no folder, no MLflow run id and no task; name an output folder (runs/cola-1a2b3c4d5e), "
            f"a run id of 32 characters, or one of {', '.join(TASKS)}"
        )

    def _readable(self, runs: list[str]) -> list[Compared]:
        """Returns the searches of runs that can be read; one that still runs, or is of another version, is left out."""
        found = []
        for run in runs:
            try:
                found.append(self._run(run))
            except UserError as error:
                self.left_out.append(str(error))
        return found

    def _folder(self, folder: Path) -> Compared:
        history, _ = read_search(folder, "OUTPUT")
        if (None, "selection") not in history.scored:
            raise UserError(
                f"OUTPUT {str(folder)!r}: that search had not begun its trials; there is nothing to compare"
            )
        return Compared(folder.name, build_trials_view(history))

    def _run(self, run: str) -> Compared:
        name, text = self.store.file(run, TRIALS_FILE)
        try:
            return Compared(name, TrialsView.model_validate_json(text))
        except ValidationError as error:
            raise UserError(
                f"MLflow run {run!r}: its {TRIALS_FILE} is of another version "
                f"({error.errors()[0]['msg']}); name its output folder instead"
            ) from None

    def close(self) -> None:
        """Gives the tracking store back."""
        if self._store is not None:
            self._store.close()


def _named_apart(searches: list[Compared]) -> list[Compared]:
    """Returns the searches with names that differ: a part of the search's id is added where two are alike."""
    names = [one.name for one in searches]
    return [
        one if names.count(one.name) == 1 else Compared(f"{one.name} {one.view.search_id[:6]}", one.view)
        for one in searches
    ]
