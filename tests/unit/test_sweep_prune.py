"""Old runs of a sweep are pruned; one that goes on, and what is compared with, never."""

from datetime import UTC, datetime, timedelta

import pytest

from qrlora_search.app.sweep_prune import prune
from qrlora_search.app.sweep_record import Entry, SweepRecord, records, save_record
from qrlora_search.describe.sweep import SweepSpec
from qrlora_search.values.errors import UserError

SCHEDULE = {"cron": "0 1 * * *", "grace": "6h"}


def spec_of(*tasks: str, **more: object) -> SweepSpec:
    return SweepSpec.model_validate({
        "name": "n", "searches": {"tasks": list(tasks or ("sst2",)), "models": ["embedded"]},
        "budget": {"configurations": 6}, "data": {"default": "stand-in"}, **more,
    })  # fmt: skip


SPEC = spec_of()


def runs(home, *made: tuple):
    """Write runs: (slot, ended, base, {key: slot whose folder holds the search})."""
    for place, (slot, ended, base, outputs) in enumerate(made):
        entries = {key: Entry(task="sst2", output=str(home / where / key)) for key, where in outputs.items()}
        save_record(home / slot, SweepRecord(name="n", slot=slot, spec={}, started=f"2026-{place}", base=base,
                                             ended="then" if ended else "", entries=entries))  # fmt: skip


def test_pruning_keeps_the_newest_and_what_they_use(tmp_path):
    runs(
        tmp_path,
        ("a", True, None, {"x": "a"}),
        ("b", True, "a", {"x": "b"}),
        ("c", True, "b", {"x": "a"}),
        ("d", True, "c", {"x": "d"}),
    )
    assert prune(SPEC, tmp_path, 2) == ["b"]
    assert [one.slot for one in records(tmp_path)] == ["a", "c", "d"]
    assert prune(SPEC, tmp_path, 1) == ["a", "c"]
    assert prune(SPEC, tmp_path, 1) == []
    with pytest.raises(UserError, match="--keep 0"):
        prune(SPEC, tmp_path, 0)


def test_pruning_never_takes_a_run_that_goes_on_or_its_bases(tmp_path):
    runs(tmp_path, ("a", True, None, {}), ("b", True, "a", {}), ("c", True, "b", {}), ("d", False, "c", {"x": "d"}))
    going = next(one for one in records(tmp_path) if one.slot == "d")
    going.entries["x"].base = "a"  # b and c failed for it
    save_record(tmp_path / "d", going)
    assert prune(SPEC, tmp_path, 1) == ["b"]
    assert [one.slot for one in records(tmp_path)] == ["a", "c", "d"]


def test_a_run_that_was_given_up_is_pruned_as_one_that_ended(tmp_path):
    runs(tmp_path, ("a", True, None, {}), ("b", False, "a", {}), ("c", True, "a", {}), ("d", True, "c", {}))
    assert prune(SPEC, tmp_path, 1) == ["a", "c"], "without a schedule one goes on whenever it is asked"
    scheduled = spec_of(schedule=SCHEDULE)
    left = next(one for one in records(tmp_path) if one.slot == "b").model_copy(update={"spec": {"schedule": SCHEDULE}})
    for hours, gone in ((2, []), (7, ["b"])):  # within its grace the next call goes on with it, though another ended
        started = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
        save_record(tmp_path / "b", left.model_copy(update={"started": started}))
        assert prune(scheduled, tmp_path, 1) == gone
    assert [one.slot for one in records(tmp_path)] == ["d"]


def test_what_a_search_is_compared_with_is_kept_though_newer_runs_were_narrower(tmp_path):
    spec = spec_of("cola", "rte")
    both = [job.key for job in spec.jobs()]
    for place, (slot, keys) in enumerate({"a": both, "b": both[:1], "c": both[:1]}.items()):
        entries = {key: Entry(task="cola", state="done") for key in keys}
        save_record(tmp_path / slot, SweepRecord(name="n", slot=slot, spec={}, started=f"2026-{place}", ended="then",
                                                 entries=entries))  # fmt: skip
    assert prune(spec, tmp_path, 1) == ["b"]
    assert prune(spec_of("cola"), tmp_path, 1) == ["a"]
