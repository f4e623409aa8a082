"""Findings of more seeds, or of more searches, join what is kept; another warm-up's rows never mix with it."""

import pytest
from tests.benchmarks.findings import joined

from qrlora_search.values.errors import UserError


def table(controls, **rows: dict):
    return {"facts": {"task": "cola"}, "labels": "L", "controls": controls, "rows": rows}


KEPT = {**table({"0": "a", "1": "b"}, plain={"0": 1, "1": 2}), "facts": {"task": "cola", "seeds": 2}}


def test_more_seeds_and_more_rows_join():
    found = joined(KEPT, table({"2": "c"}, plain={"2": 3}), whole=True)
    assert found["controls"] == {"0": "a", "1": "b", "2": "c"}
    assert found["rows"] == {"plain": {"0": 1, "1": 2, "2": 3}}
    found = joined(KEPT, table({"1": "b"}, other={"1": 9}), whole=False)
    assert found["rows"] == {"plain": {"0": 1, "1": 2}, "other": {"1": 9}}


def test_another_warm_up_replaces_a_seed_whole_or_is_refused():
    new = table({"1": "z"}, other={"1": 9})
    assert joined(KEPT, new, whole=True)["rows"] == {"plain": {"0": 1}, "other": {"1": 9}}
    with pytest.raises(UserError, match="seeds 1: another warm-up"):
        joined(KEPT, new, whole=False)


def test_other_facts_or_labels_do_not_join():
    with pytest.raises(UserError, match="has task 'cola', asked 'rte'"):
        joined(KEPT, {**table({}), "facts": {"task": "rte"}}, whole=True)
    with pytest.raises(UserError, match="another label"):
        joined(KEPT, {**table({}), "labels": "M"}, whole=True)
