"""What several integration tests use."""

from collections.abc import Iterator

import pytest

from postgres import Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a real PostgreSQL server of the module's own."""
    with running(tmp_path_factory.mktemp("postgres") / "place") as found:
        yield found
