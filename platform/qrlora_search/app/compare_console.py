"""A comparison as tables in the console."""

from rich.console import Console
from rich.table import Table

from qrlora_search.app.compare_settings import MIN_TRIALS
from qrlora_search.app.compare_view import Comparison, Group, ImportanceLine, PairLine, SettingLine


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Prints fronts, differences, what only one search reaches, settings, and what cannot be compared."""
    for group in comparison.groups:
        console.print(_fronts(group))
        for pair in group.pairs:
            for line in pair_lines(pair):
                console.print(line, markup=False)
    if comparison.settings:
        console.print(_settings(comparison))
    if comparison.importance:
        console.print(_importance(comparison))
    for line in comparison.not_compared:
        console.print(f"not compared: {line}", markup=False)
    for note in comparison.notes:
        console.print(note, style="dim", markup=False)


def _fronts(group: Group) -> Table:
    title = f"{group.title}: hypervolume above {group.reference:.3f}, selection split, n = {group.n}; {basis_of(group)}"
    table = Table(title=title, title_justify="left", pad_edge=False)
    for name in ("search", "model", "seed", "Finished", "control", "on the front", "smallest", "best", "hypervolume"):
        table.add_column(name, justify="left" if name in {"search", "model"} else "right", overflow="fold")
    for one in group.searches:
        small = f"{one.front[0].score:.3f} at {one.front[0].parameters:,}" if one.front else "-"
        best = f"{one.front[-1].score:.3f} at {one.front[-1].parameters:,}" if one.front else "-"
        table.add_row(
            one.name, one.model, str(one.seed), str(one.finished),
            f"{one.control:.3f} [{one.control_low:.3f}, {one.control_high:.3f}]", str(len(one.front)), small, best,
            f"{one.hypervolume:.4f} [{one.low:.4f}, {one.high:.4f}]",
        )  # fmt: skip
    return table


def basis_of(group: Group) -> str:
    """Returns in words which scores the fronts are of."""
    if group.confirmed:
        return "fronts confirmed by further seeds"
    names = ", ".join(group.unconfirmed)
    return f"UNCONFIRMED fronts, by the scores that brought members in (no further seeds: {names})"


def pair_lines(pair: PairLine) -> list[str]:
    """Returns a pair in words: the difference of areas, then what only one of the two reaches."""
    head = f"{pair.first} minus {pair.second}: "
    if pair.difference is None or pair.low is None or pair.high is None:
        lines = [head + pair.reason]
    else:
        mark = "" if pair.low > 0 or pair.high < 0 else " ~"
        lines = [f"{head}hypervolume {pair.difference:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}]{mark}"]
    for one in pair.only:
        mark = "" if one.told_apart else " ~"
        lines.append(
            f"  only {one.of} reaches {one.score:.3f} within {one.parameters:,} parameters "
            f"(trial {one.trial}, {one.words}); the other's {one.against}: "
            f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]{mark}"
        )
    if not pair.only:
        lines.append("  neither reaches what the other does not")
    return lines


def _settings(comparison: Comparison) -> Table:
    tasks = list(comparison.settings[0].shares)
    what = "good everywhere" if len(tasks) > 1 else "good in this task alone"
    table = Table(title=f"which setting is {what}: share of the area", title_justify="left", pad_edge=False)
    for name in ("", "setting", "worst", *tasks):
        table.add_column(name, justify="left" if name in {"", "setting"} else "right", overflow="fold")
    for line in comparison.settings:
        worst = "-" if line.worst is None else f"{line.worst:.2f}"
        table.add_row(line.kind, line.value, worst, *(setting_cell(line, task) for task in tasks))
    return table


def setting_cell(line: SettingLine, task: str) -> str:
    """Returns a setting's share in a task with its interval and n, or that there are too few trials."""
    shares, lows = line.shares, line.lows
    highs, n = line.highs, line.counts[task]
    if shares[task] is None:
        return f"too few (n={n})" if n < MIN_TRIALS else f"no area (n={n})"
    return f"{shares[task]:.2f} [{lows[task]:.2f}, {highs[task]:.2f}] n={n}"


def _importance(comparison: Comparison) -> Table:
    tasks = list(comparison.importance[0].shares)
    table = Table(title="what buys accuracy per parameter: share of importance", title_justify="left", pad_edge=False)
    for name in ("for", "setting", "mean", *tasks):
        table.add_column(name, justify="left" if name in {"for", "setting"} else "right", overflow="fold")
    for line in comparison.importance:
        table.add_row(*importance_cells(line))
    return table


def importance_cells(line: ImportanceLine) -> list[str]:
    """Returns a line of the table of importance: question, setting, mean, and a cell for each task."""
    cells = [line.question, line.setting, f"{line.mean:.2f}"]
    for task, share in line.shares.items():
        if share is None:
            cells.append(f"too few (n={line.counts[task]})")
        elif line.lows[task] is None:
            cells.append("not varied")
        else:
            cells.append(f"{share:.2f} [{line.lows[task]:.2f}, {line.highs[task]:.2f}] n={line.counts[task]}")
    return cells
