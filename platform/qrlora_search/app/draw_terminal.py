"""The front in the terminal: a plot in characters, and the table."""

from rich.table import Table

from qrlora_search.app.front_view import FrontView, MemberView, ScoreView
from qrlora_search.app.plot_data import CONTROL_X, MARKS, TICKS, FrontPlot, plot_data


def front_in_characters(view: FrontView, width: int, height: int = 18) -> str:
    """Returns the picture of a front as plain text, for any terminal and for logs."""
    return draw(plot_data(view), width, height)


def draw(plot: FrontPlot, width: int, height: int) -> str:
    """Returns a plot as text of at most `width` columns."""
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(max(40, min(width, 110)), height)
    plotext.xscale("log")
    widest = max([10, *plot.members_x, *(x for cloud in plot.clouds for x in cloud.x)])
    shown = [tick for tick in TICKS if tick <= widest * 2]
    plotext.xticks(shown, [TICKS[tick] for tick in shown])
    for cloud in plot.clouds:
        mark = {"o": ".", "x": "x", "+": "+", ".": "?"}[MARKS[cloud.state.split()[0]]]
        plotext.scatter(cloud.x, cloud.y, marker=mark, label=f"{mark} {cloud.state}")
    plotext.scatter([CONTROL_X], [plot.control], marker="C", label="C control")
    if plot.members_x:
        plotext.scatter(plot.members_x, plot.members_y, marker="O", label=f"O front ({len(plot.members_x)})")
    plotext.title(plot.title)
    plotext.xlabel(plot.x_label)
    plotext.ylabel(plot.y_label)
    text: str = plotext.uncolorize(plotext.build())
    return "\n".join(line.rstrip() for line in text.splitlines())


def front_table(view: FrontView) -> Table:
    """Returns the front as a table: the controls first, then the members from small to large."""
    table = Table(title=f"Front of {view.title}", title_justify="left", header_style="bold", pad_edge=False)
    for name in ("trial", "adapts", "parameters", "head", "lr", f"selection {view.objective}"):
        table.add_column(name, justify="left" if name == "adapts" else "right")
    for split in view.plan.counts.report:
        table.add_column(f"{split} {view.objective}", justify="right")
        table.add_column("minus control, 95 %", justify="right")
    for control in view.controls:
        cells = ["", f"control: {control.kind}", "0", f"{control.head_parameters:,}", "", _score(control.selection)]
        table.add_row(*cells, *[cell for score in control.report for cell in (_score(score, view.objective), "")])
    for one in view.members:
        table.add_row(*_cells(view, one))
    return table


def _cells(view: FrontView, one: MemberView) -> list[str]:
    cells = [str(one.trial), one.words, f"{one.parameters:,}", f"{one.head_parameters:,}", f"{one.learning_rate:g}"]
    cells.append(_score(one.selection))
    differences = {difference.split: difference for difference in one.against_control}
    for score in one.report:
        difference = differences.get(score.split)
        mark = "" if difference is None or difference.told_apart else " ~"
        shown = (
            f"{difference.difference:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{mark}" if difference else ""
        )
        cells += [_score(score, view.objective), shown]
    return cells


def _score(score: ScoreView, objective: str = "") -> str:
    """Returns a score with its standard error and, with the objective named, the other metrics of the task."""
    others = [f"{name} {value:.3f}" for name, value in score.metrics.items() if objective and name != objective]
    return f"{score.score:.3f} ±{score.error:.3f} (n={score.n})" + (f", {', '.join(others)}" if others else "")


def closing_lines(view: FrontView) -> list[str]:
    """Returns what to know below the table: counts, hypervolume, and what the intervals say."""
    counts = ", ".join(f"{number} {name}" for name, number in view.counts.items() if number)
    volume = view.hypervolume
    differences = [one for member in view.members for one in member.against_control[:1]]
    apart = sum(one.told_apart for one in differences)
    lines = [
        f"{counts}; {view.seconds:.0f} s; outcome: {view.outcome}",
        f"hypervolume {volume.value:.4f} (selection split, above {volume.reference_score:.3f}, "
        f"left of P = {volume.reference_parameters:,})",
    ]
    if not view.members:
        lines.append("No trial beats the control on the selection split: the front is the control alone.")
    elif differences and apart == 0:
        lines.append(
            "On the report split no member's difference to the control excludes 0 (~): not told apart from it."
        )
    elif differences:
        lines.append(
            f"On the report split {apart} of {len(differences)} members are told apart from the control (~: not)."
        )
    return lines
