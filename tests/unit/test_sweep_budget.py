"""What searches of a sweep get, round by round, in every unit; and what of an interrupted or failed one is spent."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrlora_search.app.sweep_budget import open_entries, plan_round, spent, turn_of
from qrlora_search.app.sweep_record import Entry, SweepRecord
from qrlora_search.describe.sweep import SweepSpec

TASKS = ("cola", "rte", "mrpc", "stsb")
EPOCHS = 5
"""Of a configuration, by the spaces of these tasks."""


def spec(unit: str, total: int, rounds: int, shares: dict[str, float]) -> SweepSpec:
    """Return a sweep over four tasks."""
    budget = {unit: f"{total}s" if unit == "time" else total, "rounds": rounds}
    return SweepSpec.model_validate({
        "name": "x", "searches": {"tasks": TASKS, "models": ["embedded"]}, "budget": budget, "shares": shares,
        "data": {"default": "stand-in"},
    })  # fmt: skip


def record(states: dict[str, Entry]) -> SweepRecord:
    return SweepRecord(name="x", slot="s", spec={}, started="now", entries=states)


def run(entry: Entry, turn, unit: str, volume: float) -> None:
    """Do what a search does in a turn: it reaches its target exactly."""
    if unit == "time":
        entry.spent_s += turn.seconds
        entry.configurations += 3
    else:
        entry.configurations = turn.configurations
    entry.epochs = EPOCHS * entry.configurations
    entry.volumes.append(volume)


@settings(max_examples=150, deadline=None)
@given(
    unit=st.sampled_from(("configurations", "epochs", "time")),
    rounds=st.integers(1, 5),
    extra=st.integers(0, 60),
    shares=st.lists(st.floats(0.001, 10), min_size=4, max_size=4),
    skipped=st.sets(st.sampled_from(TASKS), max_size=3),
    deepened=st.sets(st.sampled_from(TASKS)),
    volumes=st.lists(st.floats(0, 1), min_size=20, max_size=20),
)
def test_every_round_can_be_planned_and_the_budget_is_never_exceeded(
    unit, rounds, extra, shares, skipped, deepened, volumes
):
    total = {"configurations": 4 * rounds, "epochs": 4 * EPOCHS * rounds, "time": 4 * rounds}[unit] + extra
    asked = spec(unit, total, rounds, dict(zip(TASKS, shares, strict=True)))
    entries = {}
    for task in TASKS:
        entries[task] = Entry(task=task, state="skipped" if task in skipped else "waiting")
        if task in deepened - skipped:
            more = {"configurations": 8, "before": 8, "epochs": 40, "epochs_before": 40, "before_volume": 0.5}
            entries[task] = Entry(task=task, deepened=True, **more)
    found = record({job.key: entries[job.task] for job in asked.jobs()})
    draws = iter(volumes)
    for number in range(rounds):
        before = spent(asked, found)
        plan_round(asked, found)
        assert found.planned == number + 1
        for entry in open_entries(found).values():
            turn = turn_of(asked, entry)
            if turn is not None:
                run(entry, turn, unit, next(draws))
                entry.state = "done"
            entry.turns = found.planned
        assert spent(asked, found) >= before
    least = 4 * EPOCHS if unit == "epochs" else 0  # a configuration is whole: each search gets one at least
    assert spent(asked, found) <= max(total, least + total * (unit == "epochs"))
    if unit == "configurations" and len(skipped) < 4:
        assert spent(asked, found) == total


def test_a_search_with_a_small_share_gets_one_in_the_first_round_and_maybe_nothing_later():
    asked = spec("configurations", 30, 3, {"stsb": 0.001})
    found = record({job.key: Entry(task=job.task) for job in asked.jobs()})
    for round_ in range(3):
        plan_round(asked, found)
        assert round_ or min(one.target for one in found.entries.values()) == 1  # of stsb, whose share gives it none
        for entry in found.entries.values():
            turn = turn_of(asked, entry)
            if turn is not None:
                run(entry, turn, "configurations", 0.1)
            entry.turns = found.planned
    assert spent(asked, found) == 30


def test_budget_flows_to_the_fronts_that_grow():
    asked = spec("configurations", 80, 2, {})
    found = record({job.key: Entry(task=job.task) for job in asked.jobs()})
    plan_round(asked, found)
    first = {key: one.target for key, one in found.entries.items()}
    assert set(first.values()) == {10}
    for place, entry in enumerate(found.entries.values()):
        run(entry, turn_of(asked, entry), "configurations", 0.3 if place == 1 else 0.0)
        entry.turns = 1
    plan_round(asked, found)
    more = [one.target - 10 for one in found.entries.values()]
    assert sum(more) == 40
    assert more[1] > 30


def test_a_front_whose_growth_confirmation_could_not_tell_grows_like_the_others_in_the_mean():
    asked = spec("configurations", 80, 2, {})
    found = record({job.key: Entry(task=job.task) for job in asked.jobs()})
    plan_round(asked, found)
    for place, entry in enumerate(found.entries.values()):
        run(entry, turn_of(asked, entry), "configurations", [0.3, 0.0, None, 0.0][place])
        entry.turns = 1
    plan_round(asked, found)
    more = [one.target - 10 for one in found.entries.values()]
    assert sum(more) == 40
    assert more[0] > more[2] > more[1]


def test_time_that_a_killed_round_took_is_not_given_again():
    asked = spec("time", 4000, 1, {})
    found = record({job.key: Entry(task=job.task) for job in asked.jobs()})
    plan_round(asked, found)
    entry = next(iter(found.entries.values()))
    assert math.isclose(turn_of(asked, entry).seconds, 1000)
    entry.spent_s = 700.0
    assert math.isclose(turn_of(asked, entry).seconds, 300)
    entry.spent_s = 1000.0
    assert turn_of(asked, entry) is None


@pytest.mark.parametrize("total", [1, 8])
def test_few_epochs_give_each_search_one_configuration(total):
    asked = spec("epochs", total, 1, {})
    found = record({job.key: Entry(task=job.task) for job in asked.jobs()})
    plan_round(asked, found)
    assert {one.target for one in found.entries.values()} <= {0, 1}
