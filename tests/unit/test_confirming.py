"""Confirmation after the search: rounds, epochs, membership, failures and resuming, with trainings of known ends."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.app.compare_fronts import Compared, Side
from qrlora_search.app.confirming import Confirming
from qrlora_search.app.loop import SearchLoop
from qrlora_search.app.phases import InTurn
from qrlora_search.app.plot_data import plot_data
from qrlora_search.app.trial_files import build_trials_view
from qrlora_search.app.trust_words import confirmation_line
from qrlora_search.app.views.billing import bill_view
from qrlora_search.app.views.building import build_front_view
from qrlora_search.app.views.candidates import Standing, members_of
from qrlora_search.describe.proposals import canonical
from qrlora_search.record.events import Record
from qrlora_search.record.history import History, history_of
from qrlora_search.values.comparing import example_weights
from qrlora_search.values.packing import pack
from qrlora_search.values.states import Report, TrialState
from scripted import SPECTRA, KeptFiles, ListSampler, ScriptedError, plan

N = 1000
LABELS = np.random.default_rng(5).integers(0, 2, N)


def guesses(right: float) -> str:
    """Return packed predictions of which a share is right, the same examples first for all."""
    wrong = np.random.default_rng(1).permutation(N)[round(right * N) :]
    predictions = LABELS.copy()
    predictions[wrong] = 1 - predictions[wrong]
    return pack(predictions)


def accuracy(right: float) -> float:
    return round(right * N) / N


@dataclass
class Ends:
    """How each training ends: by (trial's parameters, seed); the search itself trains with seed 0. moved: what each
    warm-up does to all that stands on it.
    """

    scores: dict[tuple[int, int], float]
    fails: frozenset[tuple[int, int]] = frozenset()
    trained: list[tuple[int, int]] = field(default_factory=list)
    moved: tuple[float, ...] = (0.0,)
    stood_on: dict[int, int] = field(default_factory=dict)

    def begin(self, order):
        key = (order.configuration.parameters, order.seed)
        self.trained.append(key)
        self.stood_on[order.seed] = order.warm_up
        return Training(self.scores.get(key, 0.5) + self.moved[order.warm_up], key in self.fails)

    def of(self, parameters: int, seed: int) -> float:
        return self.scores[parameters, seed]


@dataclass
class Training:
    right: float
    fails: bool
    epoch: int = 0

    def step(self) -> Report:
        if self.fails:
            raise ScriptedError("diverged: on purpose")
        self.epoch += 1
        right = accuracy(self.right)
        return Report(self.epoch, right, 0.5, 1.0, guesses(self.right), {"accuracy": right}, b"w")


class Weights:
    """Holds nothing, and has nothing to derive from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, []

    def path(self, trial: int, run: int | None = None) -> Path:
        return self.folder / "no such file"

    def keep(self, trial: int, report: Report, run: int) -> None:
        self.kept.append((trial, run))

    def checkpoint(self, *_: int) -> bytes:
        return b""  # what is trained here keeps none

    ended = checkpoint


class Scorer:
    """Scores an adapter as its training ended."""

    def __init__(self, ends: Ends, folder: Path) -> None:
        self.ends, self.weights = ends, Weights(folder)

    def score(self, wanted, split):
        right = 0.7 + (0.0 if wanted is None else self.ends.moved[wanted.warm_up])
        if wanted is not None and wanted.trial is not None:
            right += self.ends.of(wanted.trial.configuration.parameters, wanted.seed) - 0.7
        return {"split": split, "metrics": {"accuracy": accuracy(right)}, "loss": 0.5, "packed": guesses(right)}


TAUS = [0.05, 0.3, 0.6, 0.9]
SIZES = [canonical(plan().space, {**ListSampler([tau]).ask()[1]}, SPECTRA, 4).parameters for tau in TAUS]


def the_plan(**confirm: object):
    return plan(len(TAUS), training={"epochs": 2, "rungs": ()}, confirm=confirm, derived={"halvings": 0})


def begin(tmp_path, a_plan):
    """Return a record that is opened, with labels and the control's score."""
    record = Record(f"sqlite:///{tmp_path / 'record.db'}")
    record.append("opened", {"plan": a_plan.model_dump(mode="json"), "search_id": "s", "at": "now"})
    record.append("prepared", {"made": [], "labels": {"selection": pack(LABELS), "validation": pack(LABELS)}})
    record.append("scored", Scorer(Ends({}), tmp_path).score(None, "selection"))
    return record, history_of(record.all())


def run(a_plan, record, history, ends, tmp_path, concurrency=1):
    sampler = ListSampler(TAUS, len(history.trials))
    loop = SearchLoop(
        a_plan, record, history, sampler, lambda one: canonical(a_plan.space, one, SPECTRA, 4), KeptFiles()
    )
    confirming = Confirming(a_plan, record, history, Scorer(ends, tmp_path))
    turns = InTurn([loop, confirming])
    SimulatedEngine(ends.begin, (ScriptedError,), concurrency).run(turns)
    return confirming


def ends_of(first, *again: tuple[float, ...], fails=frozenset()):
    """Return ends of the four sizes: what the search saw, then each further seed."""
    scores = {
        (size, seed): value
        for seed, values in enumerate((first, *again))
        for size, value in zip(SIZES, values, strict=True)
    }
    return Ends(scores, fails)


LUCKY = ends_of((0.74, 0.80, 0.77, 0.82), (0.74, 0.69, 0.77, 0.81), (0.74, 0.69, 0.77, 0.81))


def search(tmp_path, ends=LUCKY, concurrency=1, **confirm: object):
    a_plan = the_plan(**confirm)
    record, history = begin(tmp_path, a_plan)
    confirming = run(a_plan, record, history, ends, tmp_path, concurrency)
    return history, record, confirming


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_lucky_trial_leaves_the_front_and_one_that_it_hid_does_not_enter(tmp_path, concurrency):
    """Trial 1 was lucky. Trial 2, which it dominated, was no candidate: further seeds are for the raw front alone."""
    history, record, confirming = search(tmp_path, replace(LUCKY, trained=[]), concurrency, share=1.0, seeds=2)
    assert [one.trial for one in Standing(history).raw_front()] == [0, 1, 3]
    assert [trial for trial, _ in members_of(history)] == [0, 3]
    view = build_front_view(history, "complete", 1.0)
    assert view.marks == []
    lucky = next(one for one in view.confirmation.candidates if one.trial == 1)
    assert (lucky.first, lucky.confirmed, lucky.member, lucky.probability) == (0.8, pytest.approx(0.69), False, 0.0)
    assert view.confirmation.curse == pytest.approx((0.11 + 0.01) / 3)
    assert view.members[-1].selection.score == pytest.approx(0.81)  # 0.82 brought it in, and counts for nothing
    assert view.members[-1].first.score == pytest.approx(0.82)
    assert history_of(record.all()).confirmation == history.confirmation
    trials = build_trials_view(history)
    assert [(one.trial, len(one.runs)) for one in trials.confirmed or []] == [(0, 2), (3, 1)]
    assert {kind: len(runs) for kind, runs in (trials.confirmed_controls or {}).items()} == {"warm-up": 1}
    assert confirming.scorer.weights.kept  # the adapters are kept, to be scored on the report split


def test_further_warm_ups_move_scores_and_no_place_on_the_front(tmp_path):
    """The further warm-ups lie far apart from the search's own. Trial 1 is out, as with one warm-up; the others are
    what they are above their controls. That is the same on all three, so that no fourth seed is trained.
    """
    ends = ends_of(*[(0.74, 0.80, 0.77, 0.82), *[(0.74, 0.69, 0.77, 0.81)] * 4])
    ends = replace(ends, moved=(0.0, 0.06, -0.03), trained=[])
    history, record, _ = search(tmp_path, ends, share=5.0, seeds=4, warmups=3)
    assert {seed: warm_up for seed, warm_up in ends.stood_on.items() if seed} == {1: 1, 2: 2, 3: 0}
    assert "stopped early" in history.confirmation.reason
    assert sorted(history.confirmation.controls) == [(1, "selection"), (2, "selection")]
    assert [trial for trial, _ in members_of(history)] == [0, 3]
    view = build_front_view(history, "complete", 1.0)
    control = view.controls[0].selection
    assert (control.score, control.seeds, control.over) == (pytest.approx(0.71), 3, "warm-ups and examples")
    assert view.members[0].selection.over == "warm-ups, seeds and examples"
    assert [one.selection.score for one in view.members] == pytest.approx(
        [0.75, 0.82]
    )  # moved by 0.01, as the control is
    assert [one.on_selection.difference for one in view.members] == pytest.approx([0.04, 0.11])
    assert view.confirmation.curse == pytest.approx((0.0 + 0.11 + 0.01) / 3)
    assert view.confirmation.warmups == 3
    assert view.confirmation.lead == pytest.approx(-0.01)
    plot = plot_data(view)
    assert plot.members_first == pytest.approx([0.75, 0.83])
    assert sorted(plot.clouds[0].y) == pytest.approx([0.75, 0.78, 0.81, 0.83])
    assert "3 warm-ups and are drawn +0.010" in plot.caption
    assert any("3 of them" in note for note in view.notes)
    assert history_of(record.all()).confirmation == history.confirmation
    trials = build_trials_view(history)
    assert len(trials.confirmed_controls["warm-up"]) == 3
    assert [one.warm_ups for one in trials.confirmed] == [(1, 2, 0), (1, 2, 0)]
    side = Side(Compared("it", trials), example_weights(N), confirmed=True)
    assert side.scores_P == pytest.approx([0.71, 0.75, 0.82])
    wide = view.members[1].selection
    assert side.drawn_PB[2].std() == pytest.approx(np.ptp([wide.low, wide.high]) / 3.92, rel=0.6)
    apart = side.drawn_PB[2] - side.drawn_PB[0]
    assert apart.std() < side.drawn_PB[2].std() / 2


def test_share_0_switches_it_off_and_everything_says_unconfirmed(tmp_path):
    history, _, _ = search(tmp_path, share=0.0)
    assert history.confirmation.runs == {}
    view = build_front_view(history, "complete", 1.0)
    assert view.confirmation.status == "unconfirmed"
    assert view.marks == ["UNCONFIRMED"]
    assert "UNCONFIRMED" in view.title
    assert [one.trial for one in view.members] == [0, 1, 3]
    assert view.members[0].probability is None
    assert build_trials_view(history).confirmed is None
    assert any("share = 0" in note for note in view.notes)


@pytest.mark.parametrize(("share", "runs"), [(0.2, 0), (0.25, 1), (0.8, 3), (1.0, 4), (2.0, 8)])
def test_it_trains_no_more_epochs_than_its_share(tmp_path, share, runs):
    """The search trains 8 epochs, a further training takes 2; where none fits the front stays unconfirmed."""
    near = (0.74, 0.75, 0.72, 0.76)
    ends = ends_of(near, near[::-1], near, near[::-1], near)
    history, _, _ = search(tmp_path, ends, share=share, seeds=4)
    confirmation = history.confirmation
    assert len(confirmation.runs) == runs
    assert confirmation.epochs <= confirmation.allowed == int(share * 8)
    view = build_front_view(history, "complete", 1.0)
    assert view.confirmation.status == ("confirmed" if runs else "unconfirmed")
    assert {one.trial for one in view.members} <= {run.trial for run in confirmation.runs.values()} or not runs
    assert any("epochs" in one.reason for one in view.confirmation.candidates) == (runs in (1,))
    partly = [mark for mark in view.marks if mark.startswith("PARTLY CONFIRMED")]
    assert partly == (["PARTLY CONFIRMED: 1 of 3 candidates"] if runs == 1 else [])
    assert (", 2 not confirmed;" in confirmation_line(view)) == (runs == 1)
    assert any("may be members" in note for note in view.notes) == (runs == 1)


def test_seeds_end_where_the_front_cannot_change(tmp_path):
    """Six seeds may be used; after two, of equal scores for every size, nothing can change."""
    history, _, _ = search(tmp_path, ends_of(*[(0.72, 0.75, 0.6, 0.8)] * 7), share=5.0, seeds=6)
    assert "stopped early" in history.confirmation.reason
    assert {len(history.confirmation.runs_of(trial)) for trial in (0, 1, 3)} == {2}


def test_a_further_training_that_fails_keeps_its_trial_out(tmp_path):
    ends = replace(ends_of(*[(0.74, 0.80, 0.7, 0.82)] * 3), fails=frozenset({(SIZES[1], 2)}))
    history, _, _ = search(tmp_path, ends, share=2.0, seeds=2)
    assert [trial for trial, _ in members_of(history)] == [0, 3]
    view = build_front_view(history, "complete", 1.0)
    assert "seed 2 failed: diverged" in view.confirmation.candidates[1].reason


def test_a_resumed_confirmation_repeats_what_was_unfinished_alone(tmp_path):
    a_plan = the_plan(share=1.0, seeds=2)
    record, history = begin(tmp_path, a_plan)
    ends = replace(LUCKY, trained=[])
    loop_only = Confirming(a_plan, record, history, Scorer(ends, tmp_path))
    loop_only.interrupt("interrupted by SIGINT")
    sampler = ListSampler(TAUS)
    loop = SearchLoop(
        a_plan, record, history, sampler, lambda one: canonical(a_plan.space, one, SPECTRA, 4), KeptFiles()
    )
    SimulatedEngine(ends.begin, (ScriptedError,)).run(loop)
    first = Confirming(a_plan, record, history, Scorer(ends, tmp_path))
    order = first.next_trial()
    training = ends.begin(order)
    assert not first.reported(order.trial, training.step()).stop
    assert first.reported(order.trial, training.step()).stop
    second = first.next_trial()
    first.reported(second.trial, ends.begin(second).step())  # one epoch, then it is killed
    assert not history.confirmation.closed
    again = history_of(record.all())
    assert build_front_view(again, "interrupted", 1.0).marks == ["UNCONFIRMED"]
    ends.trained.clear()
    resumed = run(a_plan, record, again, ends, tmp_path)
    assert resumed.over
    assert (order.configuration.parameters, order.seed) not in ends.trained
    assert ends.trained[0] == (second.configuration.parameters, second.seed)
    assert [line.epoch for line in again.confirmation.lost] == [1]  # of the one that was killed
    (spent,) = [one for one in bill_view(again, a_plan).lines if one.name == "confirmation"]
    assert spent.epochs == again.confirmation.epochs + 1
    whole, _, _ = search(_folder(tmp_path), replace(LUCKY, trained=[]), share=1.0, seeds=2)
    points = [(0, None), (1, None), (3, None)]
    for point in points:
        mine, theirs = (
            [one.metrics for _, one in history.confirmation.scores_of(point, "selection")] for history in (again, whole)
        )
        assert mine == theirs
    assert all(run.state is TrialState.FINISHED for run in again.confirmation.runs.values())


def _folder(tmp_path: Path) -> Path:
    (tmp_path / "whole").mkdir()
    return tmp_path / "whole"


def test_more_trials_open_the_confirmation_again_and_its_trainings_stay(tmp_path):
    history, record, _ = search(tmp_path, share=1.0, seeds=2)
    configuration = canonical(plan().space, ListSampler([0.7]).ask()[1], SPECTRA, 4).to_json()
    for kind, data in (("proposed", {"proposal": {}, "configuration": configuration}), ("started", {})):
        history.apply(record.append(kind, data, 9))
    assert not history.confirmation.closed
    assert build_front_view(history, "interrupted", 1.0).marks == ["UNCONFIRMED"]
    assert len(history.confirmation.runs) > 0


def test_the_time_limit_of_the_search_leaves_time_for_confirmation(tmp_path):
    a_plan = the_plan(share=1.0, seeds=1)
    record, history = begin(tmp_path, a_plan)
    engine_clock = SimulatedEngine(LUCKY.begin, (ScriptedError,))
    loop = SearchLoop(
        a_plan, record, history, ListSampler(TAUS), lambda one: canonical(a_plan.space, one, SPECTRA, 4),
        KeptFiles(),
    )  # fmt: skip
    confirming = Confirming(a_plan, record, history, Scorer(LUCKY, tmp_path))
    loop.set_deadline(engine_clock.clock, 4.5)
    confirming.set_deadline(engine_clock.clock, 100.0)
    engine_clock.run(InTurn([loop, confirming]))
    assert loop.ending == "time limit"
    assert confirming.ending == ""
    assert history.confirmation.closed
    assert {run.trial for run in history.confirmation.runs.values()} == {0, 1}


def test_an_interrupt_begins_no_further_phase(tmp_path):
    a_plan = the_plan(share=1.0)
    record, history = begin(tmp_path, a_plan)
    loop = SearchLoop(
        a_plan, record, history, ListSampler(TAUS), lambda one: canonical(a_plan.space, one, SPECTRA, 4),
        KeptFiles(),
    )  # fmt: skip
    turns = InTurn([loop, Confirming(a_plan, record, history, Scorer(LUCKY, tmp_path))])
    turns.interrupt("interrupted by SIGINT")
    assert turns.interrupted
    assert turns.exhausted
    assert turns.next_trial() is None
    assert isinstance(history, History)
    assert history.confirmation.candidates == []
