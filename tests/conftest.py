"""What every test may use: the checkout's folder and the real data."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # no test depends on how busy the machine is
settings.load_profile("untimed")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: threads that spin starve the other process
pytest_plugins = ["skip_rule"]
CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Return the folder that holds pyproject.toml."""
    return CHECKOUT


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests prepare out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QRLORA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def glue_dir() -> Path:
    """Return the folder of the real GLUE data (``$GLUE``, else ``../shared/glue``); skip the test without it."""
    named = os.environ.get("GLUE")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "glue"
    if not folder.is_dir():
        if named:
            pytest.fail(f"GLUE={named} is not a folder; name one that holds cola/train.tsv, or unset it")
        pytest.skip("the real data is not in ../shared/glue; set GLUE to the folder that holds cola/train.tsv")
    return folder
