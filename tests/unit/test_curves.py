"""Tables of learning curves: kept and read again; synthetic families are seeded and as hard as they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.record_curves import joined, of_its_worker

from qrlora_search.adapters.simulated.curves import ReplayedFailureError, load_curves, save_curves
from qrlora_search.adapters.simulated.families import CONTROL, FAMILIES, make_family
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.record.history import TrialHistory
from qrlora_search.values.intervals import statistic
from qrlora_search.values.packing import unpack
from qrlora_search.values.states import TrialState

RECORDED = Path(__file__).parents[1] / "benchmarks" / "curves"


@pytest.mark.parametrize("name", ["steady", "failures"])
def test_a_table_is_read_as_it_was_kept(tmp_path, name):
    table = make_family(name, 0, 30)
    save_curves(table, tmp_path)
    again = load_curves(tmp_path, table.name)
    assert (again.labels, again.control.packed, again.facts) == (table.labels, table.control.packed, table.facts)
    for one, other in zip(again.curves, table.curves, strict=True):
        assert (one.configuration, one.proposal, one.fails_at) == (other.configuration, other.proposal, other.fails_at)
        assert [report.packed for report in one.reports] == [report.packed for report in other.reports]
        assert [report.score for report in one.reports] == pytest.approx([report.score for report in other.reports])


def test_another_version_is_refused(tmp_path):
    table = make_family("steady", 0, 3)
    save_curves(table, tmp_path)
    file = tmp_path / f"{table.name}.json"
    file.write_text(file.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(ValueError, match="version 2 of a table of curves; this code reads 1"):
        load_curves(tmp_path, table.name)


def test_parts_of_a_table_join_once_and_only_where_the_warm_up_is_the_same():
    whole = make_family("steady", 0, 30)
    facts = {**whole.facts, "asked": 20, "configurations": 20}
    kept = replace(whole, curves=whole.curves[:20], facts=facts)
    more = replace(whole, curves=whole.curves[15:], facts={**facts, "asked": 30, "configurations": 15})
    table = joined(kept, more)
    assert [one.configuration for one in table.curves] == [one.configuration for one in whole.curves]
    assert (table.facts["asked"], table.facts["configurations"]) == (30, 30)
    assert joined(None, more) is more
    other = replace(more, control=whole.curves[0].reports[-1])
    with pytest.raises(SystemExit, match="the warm-up is another one"):
        joined(kept, other)
    with pytest.raises(SystemExit, match="another train_limit"):
        joined(kept, replace(more, facts={**more.facts, "train_limit": 7}))


@pytest.mark.parametrize(
    ("retries", "reason", "left_out"),
    [
        (3, "lost its worker 4 times, the last time: its process died (exit code -9)", True),
        (0, "no report for 7200 s (training.report_timeout_s)", True),
        (0, "the loss is not finite in epoch 2", False),
        (1, "the loss is not finite in epoch 2", False),
    ],
)
def test_a_failure_that_says_nothing_of_its_configuration_is_no_curve(retries, reason, left_out):
    one = make_family("steady", 0, 30).curves[0].configuration
    trial = TrialHistory(0, one, state=TrialState.FAILED, reason=reason, retries=["its node was lost"] * retries)
    assert of_its_worker(trial) is left_out


def test_a_replay_gives_the_reports_and_fails_where_the_trial_did():
    table = make_family("failures", 1, 60)
    failing = next(one for one in table.curves if one.fails_at)
    trial = table.begin(TrialOrder(0, failing.configuration, 0))
    assert tuple(trial.step() for _ in failing.reports) == failing.reports
    with pytest.raises(ReplayedFailureError, match=f"epoch {failing.fails_at}"):
        trial.step()


def scores_of(table):
    return np.array([[report.score for report in one.reports] for one in table.curves if not one.fails_at])


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_seeded_and_say_that_they_are_stand_ins(name):
    table = make_family(name, 3, 80)
    assert table.curves == make_family(name, 3, 80).curves
    assert table.curves != make_family(name, 4, 80).curves
    assert table.facts["stand-in"]
    assert "stand-in" in table.name
    assert abs(table.control.score - CONTROL) < 0.15
    assert len({one.configuration.identity for one in table.curves}) == 80


def test_each_family_has_its_difficulty():
    steady, late, crossing = (scores_of(make_family(name, 5)) for name in ("steady", "late", "crossing"))

    def predicts(scores):
        return np.corrcoef(scores[:, 0], scores[:, -1])[0, 1]

    assert predicts(late) < predicts(steady) - 0.15
    assert predicts(crossing) < predicts(steady)
    assert len(make_family("noisy", 5).labels_N) == 150
    assert np.mean([bool(one.fails_at) for one in make_family("failures", 5).curves]) == pytest.approx(0.1, abs=0.07)
    chance = make_family("chance", 5)
    small = [one.reports[-1].score for one in chance.curves if one.configuration.parameters < 60]
    assert np.mean(np.abs(np.array(small) - 0.5) < 0.06) > 0.4


@pytest.mark.parametrize("file", sorted(RECORDED.glob("*.csv")), ids=lambda file: file.stem)
def test_a_recorded_table_is_complete_and_its_scores_are_those_of_its_results(file):
    table = load_curves(file.parent, file.stem)
    asked = int(table.facts.get("asked", 155))
    assert len(table.curves) >= min(150, asked - 5)  # fewer were asked for: it is being recorded
    assert not table.facts["stand-in"]
    assert len({one.configuration.identity for one in table.curves}) == len(table.curves)
    for one in table.curves[::10]:
        assert [report.epoch for report in one.reports] == [1, 2, 3, 4, 5]
        last = one.reports[-1]
        once = np.ones((1, len(table.labels_N)))
        (found,) = statistic(table.statistic, table.labels_N, unpack(last.packed), once)
        assert found == pytest.approx(last.score, abs=1e-5)
