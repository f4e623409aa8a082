"""The command line. Light to import: torch, ray and the rest load when a command runs."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from qrlora_search.app.cli_pictures import add_commands
from qrlora_search.app.cli_reproduce import reproduce
from qrlora_search.app.cli_sweep import sweep_app
from qrlora_search.values.environment import set_here
from qrlora_search.values.errors import UserError

app = typer.Typer(
    name="qrlora-search",
    help="How few parameters does this task need? QR-LoRA settings on one Pareto front.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # a third of the time that --help takes
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(sweep_app, name="sweep")


@app.command()
def search(
    task: Annotated[str, typer.Option(help="mnli, mrpc, sst2, cola, qnli, qqp, rte or stsb")],
    budget: Annotated[int, typer.Option(help="configurations to start, stopped and failed ones included")] = 64,
    model: Annotated[str, typer.Option(help="auto, embedded, a hub name or a folder")] = "auto",
    data: Annotated[str, typer.Option(help="auto, hub, stand-in or a folder with <task>/train.tsv")] = "auto",
    space: Annotated[str | None, typer.Option(help="a TOML file over search_spaces/common.toml")] = None,
    seed: Annotated[int, typer.Option(help="of warm-up, proposals and batch order")] = 0,
    output: Annotated[str | None, typer.Option(help="output folder; by default runs/<task>-<hash of the plan>")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an unfinished output")] = False,
    max_params: Annotated[int | None, typer.Option(help="start no trial with more adapter parameters")] = None,
    time_limit: Annotated[str | None, typer.Option(help="end after 90s, 15m, 2h or 1h30m")] = None,
    address: Annotated[str | None, typer.Option(help="an existing Ray cluster, HOST:PORT")] = None,
    concurrency: Annotated[int | None, typer.Option(help="trials side by side; by default one a processor")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs a trial, fractions too")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow address; by default runs/mlflow.db")] = None,
    train_limit: Annotated[int | None, typer.Option(help="use at most so many rows of train")] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            help="output of an earlier search, whose front is tried first (its raw one where it is UNCONFIRMED)"
        ),
    ] = None,
    metrics_port: Annotated[int | None, typer.Option(help="serve metrics for Prometheus on this port")] = None,
    cpus_per_trial: Annotated[int | None, typer.Option(help="processors a trial; by default one on a cluster")] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="NAME=VALUE of the nodes to use; may be repeated")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show plan and expected cost, and stop")] = False,
) -> int:
    """Find the front of score against trained parameters for one task."""
    from qrlora_search.app.request import SearchRequest

    request = SearchRequest(
        task, budget, model, data, space, seed, output, resume, max_params, time_limit, address, concurrency,
        gpus_per_trial, tracking_uri, train_limit, dry_run, warm_start, metrics_port, cpus_per_trial,
        tuple(labels) if labels else None,
    )  # fmt: skip
    from qrlora_search.app.run_search import search as run

    return run(request)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="on the loopback address")] = 5000,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow database; by default runs/mlflow.db")] = None,
) -> int:
    """Open the MLflow UI on this machine, with every search and trial."""
    from qrlora_search.adapters.mlflow_sink.ui import serve_ui

    return serve_ui(port, tracking_uri)


@app.command()
def explain(
    output: Annotated[str, typer.Argument(help="the output folder of a search")],
    trial: Annotated[str, typer.Argument(help="the number of a trial, or `control`")],
) -> int:
    """Say what happened to one trial, epoch by epoch, and why."""
    from pathlib import Path

    from qrlora_search.app.console import make_console
    from qrlora_search.app.explaining import explain as tell

    tell(Path(output), trial, make_console())
    return 0


@app.command()
def export(
    output: Annotated[str, typer.Argument(help="the output folder of a search")],
    to: Annotated[str, typer.Option("--to", help="a new or empty folder")],
    form: Annotated[str, typer.Option("--as", help="lora, merged or native")] = "lora",
    pick: Annotated[str | None, typer.Option(help="knee, best (the default), one-se or beats-control")] = None,
    under: Annotated[int | None, typer.Option(help="the best with at most so many adapter parameters")] = None,
    trial: Annotated[int | None, typer.Option(help="a Finished trial by its number")] = None,
    keep: Annotated[int | None, typer.Option(help="of --trial: so many of its coefficients, the largest")] = None,
    base: Annotated[bool, typer.Option("--base/--no-base", help="put the base model into the folder, too")] = True,
) -> int:
    """Write a trial as a PEFT LoRA adapter, a merged model, or in its native form."""
    from pathlib import Path

    from qrlora_search.app.exporting import ExportRequest
    from qrlora_search.app.exporting import export as write

    folder = write(ExportRequest(Path(output), Path(to), form, under, trial, base, pick, keep))
    sys.stdout.write(f"written: {folder} (README.md says what it is)\n")
    return 0


@app.command()
def predict(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="a folder that `export` wrote")],
    texts: Annotated[list[str] | None, typer.Argument(help="texts; pairs one after the other")] = None,
    file: Annotated[
        str | None, typer.Option(help="a file with a text (or a pair, by tab) or a JSON object a line")
    ] = None,
    base: Annotated[str | None, typer.Option(help="the base model, if it is not in DIR")] = None,
) -> int:
    """Predict labels of texts given here, in a file or on the standard input, as JSON lines."""
    from pathlib import Path

    from qrlora_search.app.adapted import load_export
    from qrlora_search.app.using import prediction_lines, read_texts

    adapted = load_export(Path(folder), Path(base) if base else None)
    for line in prediction_lines(adapted, read_texts(adapted.task, texts or [], file)):
        sys.stdout.write(line + "\n")
    return 0


@app.command()
def evaluate(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="a folder that `export` wrote")],
    data: Annotated[str, typer.Option(help="auto, hub, stand-in or a folder with <task>/train.tsv")] = "auto",
    task: Annotated[str | None, typer.Option(help="must be the adapter's own")] = None,
    base: Annotated[str | None, typer.Option(help="the base model, if it is not in DIR")] = None,
) -> int:
    """Score an export on a task's report split and compare with what the search recorded."""
    from pathlib import Path

    from qrlora_search.app.adapted import load_export
    from qrlora_search.app.console import make_console
    from qrlora_search.app.using import evaluate as score

    return 0 if score(load_export(Path(folder), Path(base) if base else None), task, data, make_console()) else 1


app.command()(reproduce)
add_commands(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 2 for bad input, with one clear message. `search` may be left out."""
    set_here()
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if given and given[0].startswith("-") and given[0] not in {"-h", "--help"}:
        given.insert(0, "search")
    try:
        ending = app(args=given, prog_name="qrlora-search", standalone_mode=False)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except TyperException as error:
        sys.stderr.write(f"error: {_usage_words(error, given)}\n")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted; what was recorded is kept: the same command with --resume goes on\n")
        return 130
    return ending if isinstance(ending, int) else 0


def _usage_words(error: TyperException, given: Sequence[str]) -> str:
    """Returns what is wrong with the words of a call, with the value that was given and where help is."""
    message = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    for option in getattr(getattr(error, "param", None), "opts", []):
        if option in given[:-1]:
            message = f"{option} {given[given.index(option) + 1]!r}: {message.partition(': ')[2] or message}"
    return f"{message.rstrip('.')}; `qrlora-search {given[0] if given else ''} --help` lists the options"
