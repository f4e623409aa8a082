"""The command `reproduce` from beginning to end: plan, train what is missing, score, show and write."""

from itertools import groupby
from pathlib import Path

from rich.console import Console

from qrlora_search.app.console import make_console
from qrlora_search.app.paper_counts import can_be_checked, readings, show_readings
from qrlora_search.app.paper_table import build_table, show_table, warnings_of, write_tables
from qrlora_search.app.reproducing import (
    Group,
    ReproduceRequest,
    check_reproduce,
    plan_group,
    prepared_again,
    run_groups,
)
from qrlora_search.app.run_search import or_away
from qrlora_search.describe.presets import PAPER_ROWS
from qrlora_search.values.errors import UserError


def reproduce(request: ReproduceRequest) -> int:
    """Runs what a request asks for and returns the exit code: 0, or that of a search which was interrupted."""
    checked = check_reproduce(request)
    console = make_console()
    groups = [
        plan_group(list(members))
        for _, members in groupby(checked, key=lambda one: (one.task.name, one.request.train_limit))
    ]
    groups = different(groups, console)
    if request.dry_run:
        for group in groups:
            _show_group(console, group)
        check_counts(console, groups, warmed_up=False)
        console.print("dry run: nothing was started or written")
        return 0
    code = or_away(lambda: run_groups(groups, console))
    if code:
        console.print("the same command goes on from here")
        return code
    tables = [build_table(group, console) for group in groups]
    for table in tables:
        show_table(console, table, request.seeds)
    write_tables(tables, request.folder)
    check_counts(console, groups, warmed_up=True)
    console.print(f"written: {request.folder}/reproduce.json, reproduce.csv, reproduce.png", markup=False)
    return 0


def different(groups: list[Group], console: Console) -> list[Group]:
    """Returns the groups without those that would train on the same rows as an earlier one of their task."""
    kept: dict[tuple[str, int], Group] = {}
    for group in groups:
        rows = next(iter(group.planned.values())).plan.counts.train
        if (group.task, rows) in kept:
            console.print(
                f"{group.task}: {group.size or PAPER_ROWS:,} rows asked, {rows:,} there; another size has them all"
            )
        else:
            kept[group.task, rows] = group
    return list(kept.values())


def _show_group(console: Console, group: Group) -> None:
    plan = next(iter(group.planned.values())).plan
    for warning in warnings_of(plan):
        console.print(f"WARNING: {warning}", markup=False)
    console.print(
        f"{plan.title}: {plan.counts.train:,} rows of train, {len(group.planned)} warm-ups, each with "
        f"{len(group.presets)} rows of {plan.space.training.epochs} epochs:"
    )
    for preset in group.presets:
        scaled = preset.scaled(plan.encoder.layers)
        published = f"; published with {preset.parameters:,} parameters" if preset.parameters else ""
        console.print(f"  {preset.name}{f' ({scaled})' if scaled else ''}{published}", markup=False)


def check_counts(console: Console, groups: list[Group], warmed_up: bool) -> None:
    """Checks the published counts, once a task, where the model has the paper's shape. warmed_up: on the warmed-up
    weights, too, where they are still in the cache.
    """
    for group in groups:
        planned = next(iter(group.planned.values()))
        if not can_be_checked(planned.plan.encoder):
            continue
        folders, lacks = {"raw": Path(planned.plan.model.path)}, "warmed-up weights are read once the table is trained"
        if warmed_up:
            try:
                folders["warmed-up"], lacks = prepared_again(planned).warm_up, ""
            except UserError as error:
                lacks = f"warmed-up weights were not read: {error}"
        console.print(f"{group.task}, seed {planned.plan.seed}: {lacks}".rstrip(": ") + ":", markup=False)
        show_readings(console, readings(folders))
