"""trials.json and spectra.json, beside front.json: what a page or a comparison needs to know of every trial.

trials.json: curves, decisions and, for Finished trials, the packed predictions on the selection split, from which
paired intervals are made again. spectra.json: |R_ii| of every matrix that tau cuts, scaled to its first value.
"""

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qrlora_search.app.report_files import write_atomically
from qrlora_search.app.views.candidates import HEAD_CONTROL, WARM_UP, Standing
from qrlora_search.app.views.members import words_of
from qrlora_search.describe.plan import Frozen, SearchPlan
from qrlora_search.describe.proposals import Spectra
from qrlora_search.record.confirmation import Point, ReportLine
from qrlora_search.record.history import HEAD_ONLY, History, TrialHistory
from qrlora_search.values.states import TrialState

TRIALS_FILE, SPECTRA_FILE = "trials.json", "spectra.json"


class EpochView(Frozen):
    """One epoch: score and held-out loss (None where it is not finite) on the selection split, what the rule said."""

    epoch: int
    score: float
    loss: float | None
    seconds: float
    decision: str


class TrialView(Frozen):
    """One trial. ranks: [layer, matrix, rank]. packed: predictions on the selection split of a Finished one."""

    trial: int
    state: str
    reason: str
    words: str
    method: str
    parameters: int
    ranks: list[tuple[int, str, int]]
    learning_rate: float
    proposal: dict[str, str | int | float]
    curve: list[EpochView]
    packed: str


class DerivedView(Frozen):
    """A Finished trial's `kept` largest coefficients. packed: their predictions on the selection split."""

    trial: int
    kept: int
    words: str
    parameters: int
    packed: str


class ConfirmedView(Frozen):
    """A member of a confirmed front. runs: packed predictions on the selection split, one for each further seed.
    warm_ups: which one each of them stands on; empty for the search's own.
    """

    trial: int
    kept: int | None
    words: str
    parameters: int
    runs: list[str]
    warm_ups: tuple[int, ...] = ()


class TrialsView(Frozen):
    """All trials of a search, with the labels of the selection split and the predictions of the controls there.

    confirmed: the front by further seeds, smallest first, and the controls' predictions by training, for the control as
    it is by warm-up; None where it is not confirmed. head_warm_ups: of the head-only control's trainings.
    """

    version: Literal[1] = 1
    search_id: str
    plan: SearchPlan
    labels: str
    controls: dict[str, str]
    trials: list[TrialView]
    derived: list[DerivedView] = Field(default_factory=list)
    confirmed: list[ConfirmedView] | None = None
    confirmed_controls: dict[str, list[str]] | None = None
    head_warm_ups: tuple[int, ...] = ()


def build_trials_view(history: History) -> TrialsView:
    """Returns the view of a search whose data are prepared."""
    kinds: dict[int | None, str] = {None: "warm-up", HEAD_ONLY: "head-only"}
    standing = Standing(history)
    confirmed = controls = None
    head_warm_ups: tuple[int, ...] = ()
    if standing.is_confirmed:
        confirmed = [_confirmed(standing, one.point) for one in standing.members]
        controls = {
            "warm-up" if point == WARM_UP else "head-only": _runs(standing, point)[1]
            for point in standing.control_points
        }
        if HEAD_CONTROL in standing.control_points:
            head_warm_ups = _runs(standing, HEAD_CONTROL)[0]
    return TrialsView(
        search_id=history.search_id,
        plan=_plan(history),
        labels=history.labels["selection"],
        controls={
            kinds[number]: one.packed
            for (number, split), one in history.scored.items()
            if split == "selection" and number in kinds
        },
        trials=[_trial(one) for one in history.searched],
        derived=[
            _derived(standing, (trial, kept), one.packed)
            for (trial, kept, split), one in history.confirmation.derived.items()
            if split == "selection" and trial != HEAD_ONLY
        ],
        confirmed=confirmed,
        confirmed_controls=controls,
        head_warm_ups=head_warm_ups,
    )


def _runs(standing: Standing, point: Point) -> tuple[tuple[int, ...], list[str]]:
    """Returns the warm-ups and the packed predictions of a point's trainings."""
    scores = standing.scores(point, "selection")
    return tuple(warm_up for warm_up, _ in scores), [one.packed for _, one in scores]


def _derived(standing: Standing, point: tuple[int, int], packed: str) -> DerivedView:
    trial, kept = point
    words = words_of(standing.history.trials[trial].configuration, kept)
    return DerivedView(trial=trial, kept=kept, words=words, parameters=standing.parameters(point), packed=packed)


def _confirmed(standing: Standing, point: Point) -> ConfirmedView:
    trial, kept = point
    configuration = standing.history.trials[trial].configuration
    warm_ups, runs = _runs(standing, point)
    return ConfirmedView(
        trial=trial,
        kept=kept,
        words=words_of(configuration, kept),
        parameters=standing.parameters(point),
        runs=runs,
        warm_ups=warm_ups,
    )


def _plan(history: History) -> SearchPlan:
    if history.plan is None:
        raise ValueError("a view of trials needs the search's plan")
    return history.plan


def _trial(one: TrialHistory) -> TrialView:
    what = one.configuration
    finished = one.state is TrialState.FINISHED
    return TrialView(
        trial=one.number,
        state=str(one.state) if one.state is not None else "unfinished",
        reason=one.reason,
        words=what.words,
        method=what.method,
        parameters=what.parameters,
        ranks=[(rank.layer, rank.matrix, rank.rank) for rank in what.ranks],
        learning_rate=what.learning_rate,
        proposal=dict(one.proposal),
        curve=[_epoch(line) for line in one.reports],
        packed=one.reports[-1].packed if finished else "",
    )


def _epoch(line: ReportLine) -> EpochView:
    loss = line.loss if np.isfinite(line.loss) else None
    return EpochView(epoch=line.epoch, score=line.score, loss=loss, seconds=line.seconds, decision=line.decision)


def write_trials(history: History, folder: Path) -> None:
    """Writes trials.json of a search into its output folder."""
    write_atomically(folder / TRIALS_FILE, build_trials_view(history).model_dump_json().encode())


def write_spectra(spectra: Spectra, rule: str, folder: Path) -> None:
    """Writes spectra.json: the rule that turns tau into a rank, and |R_ii| / |R_11| of each matrix, 4 digits each."""
    matrices = [
        {"layer": layer, "matrix": matrix, "diagonal": _scaled(diagonal_D)}
        for (layer, matrix), diagonal_D in sorted(spectra.items())
    ]
    content = {"version": 1, "rule": rule, "matrices": matrices}
    write_atomically(folder / SPECTRA_FILE, json.dumps(content, separators=(",", ":")).encode())


def _scaled(diagonal_D: NDArray[np.floating]) -> list[float]:
    first = float(diagonal_D[0]) or 1.0
    return [float(f"{float(value) / first:.4g}") for value in diagonal_D]
