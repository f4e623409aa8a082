"""The command `reproduce`."""

from typing import Annotated

import typer

from qrlora_search.values.errors import UserError


def reproduce(
    task: Annotated[str | None, typer.Option(help="mnli, mrpc, sst2, cola, qnli, qqp, rte or stsb")] = None,
    every: Annotated[bool, typer.Option("--all", help="all eight tasks")] = False,
    seeds: Annotated[
        int, typer.Option(help="warm-ups a row, each with its own draw of train, where train has more rows")
    ] = 5,
    train_sizes: Annotated[
        str | None, typer.Option(help="rows of train, e.g. 2000,10000,50000; by default the paper's 10,000")
    ] = None,
    model: Annotated[str, typer.Option(help="auto, embedded, a hub name or a folder")] = "auto",
    data: Annotated[str, typer.Option(help="auto, hub, stand-in or a folder with <task>/train.tsv")] = "auto",
    space: Annotated[str | None, typer.Option(help="a TOML file over search_spaces/common.toml")] = None,
    output: Annotated[str | None, typer.Option(help="output folder; by default runs/reproduce-<task>")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow address; by default runs/mlflow.db")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show rows and runs, and stop")] = False,
) -> int:
    """Measure the paper's table: its methods from several warm-ups, beside the published cells that are known."""
    if (task is None) != every:
        raise UserError("give either --task, e.g. --task mrpc, or --all for the eight tasks")
    from qrlora_search.app.reproduce import reproduce as run
    from qrlora_search.app.reproducing import ReproduceRequest
    from qrlora_search.describe.tasks import TASKS

    tasks = tuple(TASKS) if every else (str(task),)
    return run(ReproduceRequest(tasks, seeds, _sizes(train_sizes), model, data, space, output, tracking_uri, dry_run))


def _sizes(text: str | None) -> tuple[int | None, ...]:
    if text is None:
        return (None,)
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--train-sizes {text!r} is no list of row counts; write it like 2000,10000,50000")
    return tuple(dict.fromkeys(int(part) for part in parts))
