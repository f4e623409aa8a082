"""Commands that show what searches found: `compare`, `explorer` and `study`."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    searches: Annotated[
        list[str], typer.Argument(help="output folders, MLflow run ids, or tasks (all their searches)")
    ],
    output: Annotated[str | None, typer.Option(help="folder of the files; by default runs/compare-<hash>")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow address; by default runs/mlflow.db")] = None,
) -> int:
    """Set the fronts of several searches side by side, with what only one of them reaches."""
    from qrlora_search.app.comparing import compare as run
    from qrlora_search.app.console import make_console

    return run(searches, output, tracking_uri, make_console())


def explorer(
    port: Annotated[int, typer.Option(help="on the loopback address")] = 8501,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow address; by default runs/mlflow.db")] = None,
) -> int:
    """Open the Pareto explorer on this machine: fronts, trials, curves, decisions and the bill."""
    from qrlora_search.app.serving import serve_explorer

    return serve_explorer(port, tracking_uri)


def study(
    output: Annotated[str, typer.Argument(help="the output folder of a search")],
    port: Annotated[int, typer.Option(help="on the loopback address")] = 8080,
) -> int:
    """Open optuna-dashboard on a search's study."""
    from qrlora_search.app.serving import serve_study

    return serve_study(Path(output), port)


def add_commands(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    for command in (compare, explorer, study):
        app.command()(command)
