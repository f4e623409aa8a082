"""The store: an artefact appears whole or not at all, and a killed maker leaves nothing for good."""

import pytest

import promise
from qrlora_search.prepare.store import Store


def test_drafts_of_killed_makers_go_when_the_same_artefact_is_made_and_those_of_others_stay(tmp_path):
    store = Store(tmp_path)
    place, other = (store.place("kind", {"x": number}) for number in (1, 2))
    for one in (place, other):
        (place.parent / f".draft-{one.name}-dead").mkdir(parents=True)
        (place.parent / f".draft-{one.name}-dead" / "half").touch()
    store.get_or_make("kind", {"x": 1}, lambda draft: (draft / "whole").touch())
    assert promise.drafts(tmp_path) == [f"kind/.draft-{other.name}-dead"]  # its maker may live
    assert (place / "whole").is_file()


def test_a_maker_that_raises_leaves_no_draft(tmp_path):
    def fails(draft):
        (draft / "half").touch()
        raise ValueError("on purpose")

    store = Store(tmp_path)
    with pytest.raises(ValueError, match="on purpose"):
        store.get_or_make("kind", {"x": 1}, fails)
    assert promise.drafts(tmp_path) == []
    assert not store.has("kind", {"x": 1})
