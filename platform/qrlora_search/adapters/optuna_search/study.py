"""An Optuna study of a search, in the record's database, for optuna-dashboard and whoever else reads studies.

It follows the record and is derived from it: made anew at each start, since Optuna refuses to reopen a finished trial.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from qrlora_search.adapters.optuna_search.proposers import DIRECTIONS, METRICS, frozen
from qrlora_search.describe.proposals import Dimension
from qrlora_search.describe.protocols import Event, Parameters
from qrlora_search.describe.tried import Tried
from qrlora_search.record.history import HEAD_ONLY, History
from qrlora_search.record.storage import connect_arguments
from qrlora_search.values.errors import AnewError
from qrlora_search.values.objectives import size_axis
from qrlora_search.values.secrets import first_line
from qrlora_search.values.states import TrialState

STUDY = "search"


class StudySink:
    """A `Sink`: every proposal is a trial of the study, told COMPLETE, PRUNED or FAIL when it ends; a duplicate is told
    what answered it. A stopped trial that is taken up again is a further one, with the same parameters and the user
    attribute `continues`: the number of the one before. open: the study's trials by proposal.
    """

    def __init__(self, url: str, dimensions: list[Dimension]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.url, self.dimensions, self.history = url, dimensions, History()
        self.waiting: dict[int, list[int]] = {}
        self.open: dict[int, int] = {}
        self.last: dict[int, int] = {}
        self.added = self.count = 0
        self.storage: optuna.storages.RDBStorage | None = None
        with self._asking():
            self.storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": connect_arguments(url)})
            if STUDY in {one.study_name for one in self.storage.get_all_studies()}:
                optuna.delete_study(study_name=STUDY, storage=self.storage)
            self.study = optuna.create_study(study_name=STUDY, storage=self.storage, directions=DIRECTIONS)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                self.study.set_metric_names(METRICS)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Raises AnewError where the database fails: what was committed before its answer was lost is not known."""
        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            self._leave()
            raise AnewError(first_line(error, self.url)) from None

    def _leave(self) -> None:
        if self.storage is not None:
            self.storage.remove_session()
            self.storage.engine.dispose()

    def take(self, event: Event) -> None:
        """Brings the study up to an event; raises AnewError where the database does not take it now."""
        with self._asking():
            self._follow(event)
        self.history.apply(event)

    def _follow(self, event: Event) -> None:
        number = event.trial
        if number is None or number == HEAD_ONLY:
            return
        if event.kind == "proposed" and number >= self.added:
            proposal = event.data["proposal"]
            if not isinstance(proposal, dict):
                raise TypeError("a proposal is a table of parameters")
            self._add(number, proposal)
            self.added = number + 1
        elif event.kind == "promoted" and number not in self.open:
            self._add(number, self.history.trials[number].proposal, continues=self.last[number])
        elif event.kind == "refused":
            self._tell(number, TrialState.STOPPED, number)
        elif event.kind == "duplicate":
            of = int(str(event.data["of"]))
            state = self.history.trials[of].state
            if state is None:
                self.waiting.setdefault(of, []).append(number)
            else:
                self._tell(number, state, of)
        elif event.kind == "ended":
            for one in (number, *self.waiting.get(number, [])):
                self._tell(one, TrialState(str(event.data["state"])), number)

    def _add(self, number: int, proposal: Parameters, continues: int | None = None) -> None:
        made = frozen(self.dimensions, Tried(number, proposal, None, None, 0))
        if continues is not None:
            made.set_user_attr("continues", continues)
        self.study.add_trial(made)
        self.open[number] = self.last[number] = self.count
        self.count += 1

    def _tell(self, number: int, state: TrialState, source: int) -> None:
        if number not in self.open:
            return
        trial, place = self.history.trials[source], self.open[number]
        if state is TrialState.FINISHED and trial.score is not None:
            self.study.tell(place, [trial.score, float(size_axis(trial.configuration.parameters))])
        else:
            pruned, failed = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL
            self.study.tell(place, state=pruned if state is TrialState.STOPPED else failed)
        del self.open[number]

    def close(self) -> None:
        """Leaves no proposal open, and gives the database back."""
        with self._asking():
            for place in sorted(self.open.values()):
                self.study.tell(place, state=optuna.trial.TrialState.FAIL)
        self._leave()
