"""Which slot of a schedule a call runs, and which one is given up."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qrlora_search.app import sweep_place
from qrlora_search.app.console import make_console
from qrlora_search.app.sweep_record import choose_slot, home_of, load_record, new_record, save_record
from qrlora_search.app.sweep_run import too_late
from qrlora_search.describe.sweep import Schedule, SweepSpec


def night(folder: Path, cron: str, grace: str) -> SweepSpec:
    """Return a sweep with a schedule."""
    return SweepSpec.model_validate({
        "name": "n", "searches": {"tasks": ["cola"], "models": ["embedded"]}, "budget": {"configurations": 6},
        "data": {"default": "stand-in"}, "storage": {"output": str(folder)},
        "schedule": {"cron": cron, "grace": grace},
    })  # fmt: skip


def test_an_unfinished_scheduled_run_goes_on_within_its_grace(tmp_path):
    spec = night(tmp_path, "0 * * * *", "3h")
    began = datetime(2026, 1, 1, 1, 0, 5, tzinfo=UTC)
    killed = new_record(spec, "2026-01-01T0100E0000").model_copy(update={"started": began.isoformat()})
    save_record(home_of(spec) / killed.slot, killed)
    assert choose_slot(spec, None, began + timedelta(hours=2)) == killed.slot
    assert choose_slot(spec, None, began + timedelta(hours=4)) == "2026-01-01T0500E0000"
    assert choose_slot(spec, "mine", began) == "mine"


def test_a_scheduled_run_that_is_late_is_left_out_also_a_killed_one_but_an_ended_one_may_deliver(tmp_path):
    spec = night(tmp_path, "0 1 * * *", "6h")
    due, folder = datetime(2026, 1, 1, 1, tzinfo=UTC), tmp_path / "n" / "2026-01-01T0100E0000"
    assert not too_late(spec, folder, due + timedelta(hours=5.9))
    assert too_late(spec, folder, due + timedelta(hours=6.1))
    began = due + timedelta(hours=5)  # by a machine that was off at one
    one = new_record(spec, folder.name).model_copy(update={"started": began.isoformat()})
    save_record(folder, one)
    for hours, late in ((1.5, False), (5.9, False), (6.1, True)):
        now = began + timedelta(hours=hours)
        assert choose_slot(spec, None, now) == folder.name
        assert too_late(spec, folder, now) == late, "a slot that was begun has the grace from its start, for both"
    save_record(folder, one.model_copy(update={"ended": one.started}))
    assert not too_late(spec, folder, due + timedelta(hours=23))


def test_a_killed_night_that_was_longer_than_the_grace_goes_on_until_the_next_is_due(tmp_path):
    spec = night(tmp_path, "0 1 * * *", "2h")
    due, folder = datetime(2026, 1, 1, 1, tzinfo=UTC), tmp_path / "n" / "2026-01-01T0100E0000"
    heard = due + timedelta(hours=9)
    times = {"started": due.isoformat(), "heard": heard.isoformat()}
    save_record(folder, new_record(spec, folder.name).model_copy(update=times))
    for hours, late in ((0.2, False), (1.9, False), (2.1, True)):
        now = heard + timedelta(hours=hours)
        assert choose_slot(spec, None, now) == folder.name
        assert too_late(spec, folder, now) == late
    heard = due + timedelta(hours=23.9)
    save_record(folder, new_record(spec, folder.name).model_copy(update={**times, "heard": heard.isoformat()}))
    assert choose_slot(spec, None, heard) == folder.name
    assert choose_slot(spec, None, heard + timedelta(hours=0.2)) == "2026-01-02T0100E0000"


def test_a_search_that_trains_is_heard_of(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_place, "BEAT_S", 0.01)
    spec = night(tmp_path, "0 1 * * *", "2h")
    record = new_record(spec, "one")
    place = sweep_place.Place(spec, tmp_path, record, make_console())
    with place.spending(next(iter(record.entries.values()))):
        deadline = time.monotonic() + 20
        while not record.heard and time.monotonic() < deadline:
            time.sleep(0.01)
    kept = load_record(tmp_path)
    assert kept is not None
    assert record.started <= kept.heard <= datetime.now(UTC).isoformat(timespec="milliseconds")


AUTUMN = {
    "Europe/Berlin": (10, 24),
    "America/New_York": (10, 31),
    "Australia/Lord_Howe": (4, 4),
    "Asia/Beirut": (10, 24),
}
"""A day before clocks are set back in 2026: an hour, or half of one, comes twice."""
CRONS = ("30 1 * * *", "30 2 * * *", "0 0 * * *", "30 0 * * *", "15 */2 * * *", "*/20 * * * *")


@pytest.mark.parametrize("zone", list(AUTUMN))
@pytest.mark.parametrize("cron", CRONS)
def test_the_newest_slot_never_goes_back_comes_twice_or_late_when_clocks_are_set_back(zone, cron):
    schedule = Schedule(cron=cron, time_zone=zone)
    began, step = datetime(2026, *AUTUMN[zone], tzinfo=UTC), timedelta(minutes=5)
    seen = [(began + place * step, schedule.newest(began + place * step)) for place in range(2 * 24 * 12)]
    times = [found.astimezone(UTC) for _, found in seen]
    assert all(found <= now for (now, _), found in zip(seen, times, strict=True))
    assert times == sorted(times)
    firsts = [now for place, (now, _) in enumerate(seen) if place and times[place] != times[place - 1]]
    assert all(now == schedule.newest(now).astimezone(UTC) for now in firsts), "taken up when it is due"
    named = {found.astimezone(UTC): schedule.slot(now)[:15] for now, found in seen}
    assert len(set(named.values())) == len(named)
