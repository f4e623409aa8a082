"""The commands of sweeps: many searches described once, run together, sent to a cluster, scheduled, pruned."""

import sys
from pathlib import Path
from typing import Annotated

import typer

sweep_app = typer.Typer(
    help="Many searches described once in a TOML file: run, send to a cluster, schedule, prune.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Spec = Annotated[str, typer.Argument(metavar="SPEC", help="a TOML file like those in search_spaces/sweeps/")]
Slot = Annotated[str | None, typer.Option(help="which run is meant; by default the schedule's newest, or a new one")]
Jobs = Annotated[str | None, typer.Option(help="the cluster's job server, http://HOST:8265")]


@sweep_app.command()
def run(
    spec: Spec,
    slot: Slot = None,
    scheduled: Annotated[bool, typer.Option("--scheduled", help="leave out what was missed for too long")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show plan, cost and what is there already")] = False,
) -> int:
    """Run a sweep here, or go on with it; exit code 3 on a regression."""
    if dry_run:
        from qrlora_search.app.sweep_dry import show_sweep

        return show_sweep(Path(spec), slot)
    from qrlora_search.app.sweep_run import run_sweep

    return run_sweep(Path(spec), slot, scheduled)


@sweep_app.command()
def submit(
    spec: Spec,
    slot: Slot = None,
    jobs: Jobs = None,
    again: Annotated[bool, typer.Option("--again", help="send one that failed or was stopped again")] = False,
) -> int:
    """Send a sweep to a Ray cluster as a job; sent twice, it runs once."""
    from qrlora_search.app.sweep_submit import send

    return send(Path(spec), slot, jobs, again)


@sweep_app.command()
def status(spec: Spec, slot: Slot = None, jobs: Jobs = None) -> int:
    """Say how a sweep that was sent is doing."""
    from qrlora_search.app.sweep_submit import tell_status

    return tell_status(Path(spec), slot, jobs)


@sweep_app.command()
def logs(spec: Spec, slot: Slot = None, jobs: Jobs = None) -> int:
    """Show what a sweep that was sent has printed."""
    from qrlora_search.app.sweep_submit import tell_logs

    return tell_logs(Path(spec), slot, jobs)


@sweep_app.command()
def stop(spec: Spec, slot: Slot = None, jobs: Jobs = None) -> int:
    """Stop a sweep that was sent; `submit --again` goes on with it."""
    from qrlora_search.app.sweep_submit import stop_job

    return stop_job(Path(spec), slot, jobs)


@sweep_app.command()
def schedule(
    spec: Spec,
    form: Annotated[str, typer.Option("--as", help="crontab, systemd, kubernetes or kuberay")],
    to: Annotated[str | None, typer.Option("--to", help="a folder for the files; by default they are printed")] = None,
    image: Annotated[str, typer.Option(help="the container image, for Kubernetes")] = "qrlora-search:latest",
) -> int:
    """Write what the place's own scheduler runs; nothing is installed."""
    from qrlora_search.app.sweep_schedule import write_schedule

    write_schedule(Path(spec), form, Path(to) if to else None, image)
    return 0


@sweep_app.command()
def prune(
    spec: Spec, keep: Annotated[int | None, typer.Option(help="runs to keep; by default history.keep")] = None
) -> int:
    """Remove old runs of a sweep, but none that another still uses."""
    from qrlora_search.app.sweep_prune import prune_sweep

    for slot in prune_sweep(Path(spec), keep):
        sys.stdout.write(f"removed: {slot}\n")
    return 0
