"""What the tests of pages start from."""

import pytest

from search_runs import LEARNT, Place, make_place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a place whose searches find a front with members."""
    made = make_place(
        tmp_path_factory.mktemp("pages"), tmp_path_factory.mktemp("cache"), "sst2", "bert", rows=600, told=0.8
    )
    (made.folder / "space.toml").write_text(LEARNT, encoding="utf-8")
    return made
