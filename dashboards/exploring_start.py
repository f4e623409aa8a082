"""Starts the explorer's server: `exploring_start.py run explorer.py ...`, with streamlit's own arguments.

What the first page would wait for is done before the server answers: imports, and opening a tracking database.
"""

import gc
import sys
from contextlib import suppress

import pandas as pd  # noqa: F401
import plotly.graph_objects as go  # noqa: F401
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError
from streamlit.web.cli import main

import exploring_data as data

YOUNG = 10_000
"""So many new objects are collected at once, Python's own 700 at first."""


def prepare(address: str) -> None:
    """Opens the tracking store at an address, where it answers; the page says so where it does not."""
    if not address.startswith(("http://", "https://")):  # a server is asked by the page, and has nothing to open
        with suppress(MlflowException, SQLAlchemyError, OSError):
            data.tasks(data.client(address))
    gc.collect()  # reading 1,000 runs takes 1.2 s, and 0.45 s where what was imported is not looked through each time
    gc.freeze()
    gc.set_threshold(YOUNG)


if __name__ == "__main__":
    prepare(data.address())
    sys.argv[0] = "streamlit"
    main()
