"""What follows the record: MLflow and the Optuna study. A search is done when both have all of it."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from qrlora_search.adapters.mlflow_sink.sink import MlflowSink
from qrlora_search.adapters.optuna_search.study import StudySink
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.proposals import dimensions
from qrlora_search.describe.protocols import Sink
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.pump import Pump


def followers(plan: SearchPlan, tracking: str, record: Record, output: Path) -> list[Pump]:
    """Returns the running pumps of MLflow and the study. tracking: MLflow's address, with its password."""
    makes: dict[str, Callable[[], Sink]] = {
        "MLflow": lambda: MlflowSink(tracking, output),
        "the Optuna study": lambda: StudySink(record.url, dimensions(plan.space, plan.encoder.layers)),
    }
    return [Pump(record, make, name) for name, make in makes.items()]


def deliver(pumps: list[Pump], record: Record, console: Console) -> None:
    """Waits until the pumps have the whole record, and notes that; says what one of them lacks."""
    last = record.last()
    troubles = {pump.name: pump.close(last) for pump in pumps}
    for name, trouble in troubles.items():
        if trouble:
            console.print(
                f"{name} lacks the end of this search ({trouble}); the record and the files have all of it, "
                "and the same command, with --resume where it is unfinished, brings it up to date."
            )
    if not any(troubles.values()):
        record.append("delivered", {"through": last})


def show_link(pumps: list[Pump], console: Console) -> None:
    """Prints the link that opens MLflow on this search, where MLflow has it."""
    for link in [pump.sink.link for pump in pumps if isinstance(pump.sink, MlflowSink) and pump.sink.link]:
        console.print(f"MLflow on this search, with its charts: {link}", no_wrap=True, soft_wrap=True)


def deliver_again(plan: SearchPlan, tracking: str, output: Path, console: Console) -> None:
    """Brings MLflow and the study up to date with a search that ended while they, or its driver, were away."""
    record = Record(record_url(output))
    deliver(followers(plan, tracking, record, output), record, console)
    record.close()
