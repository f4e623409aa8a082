"""The paper's rows as measured here, beside the published cells: plain data, a table, files and a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pandas as pd
from rich.console import Console
from rich.table import Table

from qrlora_search.app.over_seeds import Floats, difference_over_seeds, score_over_seeds
from qrlora_search.app.paper_counts import can_be_checked
from qrlora_search.app.report_files import write_atomically
from qrlora_search.app.reproducing import Group, left_out, score_all, trial_of
from qrlora_search.describe.plan import Frozen, SearchPlan
from qrlora_search.describe.presets import PAPER_MODEL, PAPER_ROWS, Cells, Preset
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.record.history import History
from qrlora_search.values.packing import unpack

CONTROL = "control: warm-up, no adapter"


class Cell(Frozen):
    """A row's score on one report split, the mean over seeds, with its 95 % interval over seeds and examples.

    minus_control: the same of the paired difference. others: means of further metrics. published, published_others: the
    paper's, as fractions like ours.
    """

    split: str
    n: int
    score: float
    low: float
    high: float
    minus_control: tuple[float, float, float] | None
    others: dict[str, float]
    published: float | None
    published_others: dict[str, float]


class Row(Frozen):
    """One row. seeds: how many of the warm-ups gave it; a failed trial gives none, and where all failed there is no
    word of what is adapted, no count and no cell.
    """

    name: str
    adapts: str
    scaled: str
    parameters: list[int]
    head_parameters: int
    published_parameters: int | None
    seeds: int
    cells: list[Cell]


class PaperTable(Frozen):
    """All rows of one task at one size of train. rows_of_train: examples that warm-up and trials saw."""

    version: int = 1
    task: str
    objective: str
    stand_in: bool
    model: str
    data: str
    rows_of_train: int
    rows: list[Row]
    warnings: list[str]


def build_table(group: Group, console: Console) -> PaperTable:
    """Returns the table of a group whose searches are done; scores on the report split what is not scored yet."""
    histories = {seed: score_all(planned, console) for seed, planned in group.planned.items()}
    plan = next(iter(group.planned.values())).plan
    rows = [_row(group, histories, None), *(_row(group, histories, preset) for preset in group.presets)]
    return PaperTable(
        task=plan.task,
        objective=find_task(plan.task).objective,
        stand_in=plan.stand_in,
        model=plan.model.name,
        data=plan.data.name,
        rows_of_train=plan.counts.train,
        rows=rows,
        warnings=warnings_of(plan),
    )


def warnings_of(plan: SearchPlan) -> list[str]:
    """Returns how this is not the paper's experiment."""
    found = []
    if plan.stand_in:
        found.append("STAND-IN data: generated, not GLUE; nothing here can be set beside the paper's scores")
    elif plan.data.kind == "folder":
        found.append("the data are a folder's: whether they are GLUE's complete rows is not known")
    name = plan.model.name
    if not can_be_checked(plan.encoder):
        found.append(f"the model is {name}, the paper's {PAPER_MODEL}: scores and counts are not comparable")
    elif plan.model.kind != "hub" or name.rsplit("/", 1)[-1].lower() != PAPER_MODEL:
        found.append(f"the model is {name}, of {PAPER_MODEL}'s shape; whether its weights are the paper's is not known")
    if plan.train_limit not in {None, PAPER_ROWS}:
        found.append(
            f"{plan.counts.train:,} rows of train as asked, the paper's min(10,000, all); no cell is published"
        )
    elif plan.counts.train != PAPER_ROWS:
        found.append(
            f"{plan.counts.train:,} rows of train, the paper's min(10,000, all): {plan.counts.selection:,} are set "
            "aside as the selection split"
        )
    layers = plan.encoder.layers
    found += [
        f"{row} is left out: on {layers} layer{'s' if layers > 1 else ''} it is the same as {first}"
        for row, first in left_out(layers)
    ]
    found.append("not published: learning rates, batch size, adapter epochs, length, seeds; LoRA's places are a guess")
    return found


def _row(group: Group, histories: dict[int, History], preset: Preset | None) -> Row:
    plan = next(iter(group.planned.values())).plan
    numbers: dict[int, int | None] = {}
    words, counts, head = ("nothing", {0}, 0) if preset is None else ("", set[int](), 0)
    for seed, history in histories.items():
        trial = None if preset is None else trial_of(history, group.planned[seed], preset)
        if preset is None:
            numbers[seed] = None
        elif trial is not None:
            numbers[seed], words = trial.number, trial.configuration.words
            counts.add(trial.configuration.parameters)
            head = plan.encoder.head_parameters if trial.configuration.head == "trained" else 0
    published = {} if preset is None or group.size is not None else preset.cells  # known at the paper's size alone
    cells = _cells(find_task(plan.task), histories, numbers, None if preset is None else published)
    return Row(
        name=CONTROL if preset is None else preset.name,
        adapts=words,
        scaled="" if preset is None else preset.scaled(plan.encoder.layers),
        parameters=sorted(counts),
        head_parameters=head,
        published_parameters=None if preset is None else preset.parameters,
        seeds=len(numbers),
        cells=cells,
    )


def _cells(
    task: Task, histories: dict[int, History], numbers: dict[int, int | None], known: Cells | None
) -> list[Cell]:
    """Returns a row's cells, a report split each. known: what is published of it; None for the control."""
    cells = []
    for place, split in enumerate(task.report_splits):
        if not numbers:
            break
        scored = [histories[seed].scored[number, split] for seed, number in numbers.items()]
        control = [unpack(histories[seed].scored[None, split].packed) for seed in numbers]
        labels: Floats = unpack(next(iter(histories.values())).labels[split])
        ours = [unpack(one.packed) for one in scored]
        mean = score_over_seeds(task.statistic, labels, ours)
        apart = None if known is None else difference_over_seeds(task.statistic, labels, ours, control)
        published = _published(task, known or {}, place)
        others = {name: fmean(one.metrics[name] for one in scored) for name in task.metrics if name != task.objective}
        cells.append(
            Cell(
                split=split,
                n=mean.n,
                score=mean.value,
                low=mean.low,
                high=mean.high,
                minus_control=None if apart is None else (apart.value, apart.low, apart.high),
                others=others,
                published=published.pop(task.objective, None),
                published_others=published,
            )
        )
    return cells


def _published(task: Task, known: Cells, place: int) -> dict[str, float]:
    """Returns a row's published cells of one report split by metric, as fractions."""
    values = [round(value / 100, 4) for value in known.get(task.name, ())]
    if len(task.report_splits) > 1:
        return {task.objective: values[place]} if place < len(values) else {}
    return dict(zip(task.metrics, values, strict=False))


def show_table(console: Console, table: PaperTable, seeds: int) -> None:
    """Prints a table with its warnings."""
    for warning in table.warnings:
        console.print(f"WARNING: {warning}", markup=False)
    kind = " (STAND-IN data, not GLUE)" if table.stand_in else ""
    title = f"The paper's rows on {table.task}{kind}: {table.rows_of_train:,} rows of train, {seeds} warm-ups"
    shown = Table(title=title, title_justify="left", pad_edge=False)
    for name in ("row", "adapts", "parameters (paper)", "head", f"{table.objective}, 95 % (n, seeds)", "paper",
                 "minus control, 95 %"):  # fmt: skip
        shown.add_column(name)
    for row in table.rows:
        shown.add_row(row.name, *_what_in_words(row), *_cells_in_words(row))
    console.print(shown)
    console.print(
        f"Intervals are {_over(seeds)}; differences are paired. Blank: not published. ~: the interval includes 0.",
        markup=False,
    )


def _over(seeds: int) -> str:
    return "over warm-ups and examples at once" if seeds > 1 else "over examples, of one warm-up"


def _what_in_words(row: Row) -> list[str]:
    """Returns what a row adapts, its counts with the published one, and its head's; nothing where every seed failed."""
    published = f"({row.published_parameters:,})" if row.published_parameters else ""
    if not row.parameters:
        return ["", published, ""]
    counts = "-".join(f"{one:,}" for one in dict.fromkeys([row.parameters[0], row.parameters[-1]]))
    adapts = row.adapts + (f" ({row.scaled})" if row.scaled else "")
    return [adapts, f"{counts} {published}".rstrip(), f"{row.head_parameters:,}"]


def _cells_in_words(row: Row) -> list[str]:
    if not row.cells:
        return ["every seed failed", "", ""]
    scores, papers, apart = [], [], []
    for cell in row.cells:
        others = "".join(f", {name} {value:.3f}" for name, value in cell.others.items())
        scores.append(f"{cell.score:.3f} [{cell.low:.3f}, {cell.high:.3f}] ({cell.n:,}, {row.seeds}){others}")
        known = "".join(f", {name} {value:.4f}" for name, value in cell.published_others.items())
        papers.append("" if cell.published is None else f"{cell.published:.4f}{known}")
        if cell.minus_control is not None:
            value, low, high = cell.minus_control
            apart.append(f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" + ("" if low > 0 or high < 0 else " ~"))
    return ["\n".join(scores), "\n".join(papers), "\n".join(apart)]


def write_tables(tables: Sequence[PaperTable], folder: Path) -> None:
    """Writes reproduce.json, reproduce.csv and reproduce.png into a folder. In the CSV a further metric is a column of
    its name, the published one `published_` and its name.
    """
    content = [one.model_dump(mode="json") for one in tables]
    write_atomically(folder / "reproduce.json", json.dumps(content, indent=1).encode())
    lines = [
        {
            "task": table.task, "stand_in": table.stand_in, "model": table.model, "train_rows": table.rows_of_train,
            "row": row.name, "adapts": row.adapts, "parameters_low": row.parameters[0],
            "parameters_high": row.parameters[-1], "head_parameters": row.head_parameters,
            "published_parameters": row.published_parameters, "seeds": row.seeds, "metric": table.objective,
            **cell.model_dump(exclude={"minus_control", "others", "published_others"}),
            **dict(zip(("minus_control", "minus_low", "minus_high"), cell.minus_control or (), strict=False)),
            **cell.others, **{f"published_{name}": cell.published_others.get(name) for name in cell.others},
        }
        for table in tables
        for row in table.rows
        for cell in row.cells
    ]  # fmt: skip
    write_atomically(folder / "reproduce.csv", pd.DataFrame(lines).to_csv(index=False).encode())
    draw_tables(tables, folder / "reproduce.png")


def _any_published(rows: Sequence[Row]) -> bool:
    return any(cell.published is not None for row in rows for cell in row.cells)


def draw_tables(tables: Sequence[PaperTable], path: Path) -> None:
    """Draws every row's score with its interval, a panel a table, the published ones as diamonds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.9 + 0.34 * sum(len(one.rows) + 2 for one in tables)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tables), 1, squeeze=False)[:, 0]
    for panel, table in zip(panels, tables, strict=True):
        rows = [row for row in table.rows if row.cells]
        for place, row in enumerate(rows):
            cell = row.cells[0]
            panel.errorbar(cell.score, place, xerr=[[cell.score - cell.low], [cell.high - cell.score]], fmt="o",
                           color="black", capsize=3)  # fmt: skip
            if cell.published is not None:
                panel.plot(cell.published, place, "D", color="white", markeredgecolor="black")
        panel.axvline(rows[0].cells[0].score, color="black", linestyle=":", linewidth=1)
        panel.set_yticks(range(len(rows)), [f"{row.name} ({row.parameters[-1]:,})" for row in rows])
        panel.invert_yaxis()
        kind = ", STAND-IN data" if table.stand_in else ""
        split, n = rows[0].cells[0].split, rows[0].cells[0].n
        panel.set_xlabel(f"{table.objective} on {split}, n = {n:,}; 95 % {_over(rows[0].seeds)}")
        panel.set_title(
            f"{table.task}{kind}, {table.model}, {table.rows_of_train:,} rows of train; "
            f"dotted: control{', diamond: published (roberta-base)' if _any_published(rows) else ''}",
            fontsize=9,
        )
    figure.savefig(path, dpi=120)
