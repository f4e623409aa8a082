"""The front in the terminal: a plot in characters, and the table."""

from types import ModuleType

from rich.table import Table

from qrlora_search.app.front_view import FrontView, MemberView, ScoreView
from qrlora_search.app.plot_data import CONTROL_X, MARKS, TICKS, FrontPlot, plot_data
from qrlora_search.app.trust_words import confirmation_line, curse_lines, derived_lines

BAND_STEPS = 40
BAR = 30


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
        mark = {"o": ".", "x": "x", "+": "+", ".": "?", "v": "v"}[MARKS[cloud.state.split()[0]]]
        plotext.scatter(cloud.x, cloud.y, marker=mark, label=f"{mark} {cloud.state}")
    plotext.scatter([CONTROL_X], [plot.control], marker="C", label="C control")
    if plot.members_x:
        _bands(plotext, plot)
        for derived, mark, kind in ((False, "O", "front"), (True, "V", "front, derived")):
            mine = [place for place, one in enumerate(plot.members_derived) if one == derived]
            if mine:
                x, y = [plot.members_x[place] for place in mine], [plot.members_y[place] for place in mine]
                plotext.scatter(x, y, marker=mark, label=f"{mark} {kind} ({len(mine)})")
    plotext.title(plot.title)
    plotext.xlabel(plot.x_label)
    plotext.ylabel(plot.y_label)
    text: str = plotext.uncolorize(plotext.build())
    return "\n".join(line.rstrip() for line in text.splitlines())


def _bands(plotext: ModuleType, plot: FrontPlot) -> None:
    """Draws the 95 % intervals of the members as columns of bars."""
    shown = [*plot.members_y, plot.control, *(y for cloud in plot.clouds for y in cloud.y)]
    lowest, highest = min(shown), max(shown)
    for x, low, high in zip(plot.members_x, plot.members_low, plot.members_high, strict=True):
        bottom, top = max(low, lowest), min(high, highest)
        steps = [bottom + (top - bottom) * step / BAND_STEPS for step in range(BAND_STEPS + 1)]
        plotext.scatter([x] * len(steps), steps, marker="|")


def front_table(view: FrontView) -> Table:
    """Returns the front as a table: the controls first, then the members from small to large."""
    table = Table(title=f"Front of {view.title}", title_justify="left", header_style="bold", pad_edge=False)
    brought_in, counts = f"selection {view.objective}, brought in", "the same, further seeds"
    columns = ["trial", "adapts", "parameters", "head", "lr", brought_in]
    columns += [counts, "P on front"] if view.confirmation.status == "confirmed" else []
    for name in columns:
        table.add_column(name, justify="left" if name == "adapts" else "right")
    for split in view.plan.counts.report:
        table.add_column(f"{split} {view.objective}", justify="right")
        table.add_column("minus control, 95 %", justify="right")
    for control in view.controls:
        cells = ["", f"control: {control.kind}", "0", f"{control.head_parameters:,}", "", _score(control.selection)]
        cells += ["", ""] if view.confirmation.status == "confirmed" else []
        table.add_row(*cells, *[cell for score in control.report for cell in (_score(score, view.objective), "")])
    for one in view.members:
        table.add_row(*_cells(view, one))
    return table


def _cells(view: FrontView, one: MemberView) -> list[str]:
    cells = [one.name, one.words, f"{one.parameters:,}", f"{one.head_parameters:,}", f"{one.learning_rate:g}"]
    cells.append(_score(one.first))
    if view.confirmation.status == "confirmed":
        cells += [_score(one.selection), "" if one.probability is None else f"{one.probability:.2f}"]
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
    seeds = f", {score.repeats}" if score.repeats else ""
    return f"{score.score:.3f} ±{score.error:.3f} (n={score.n}{seeds})" + (f", {', '.join(others)}" if others else "")


def pick_lines(view: FrontView) -> list[str]:
    """Returns the picks, a line each."""
    return [f"pick {one.name}: {one.words}" for one in view.picks]


def bill_table(view: FrontView) -> Table:
    """Returns the bill: what was spent and saved."""
    bill = view.bill
    table = Table(title="Bill", title_justify="left", header_style="bold", pad_edge=False)
    for name in ("", "epochs", bill.unit, "how"):
        table.add_column(name, justify="left" if name in {"", "how"} else "right")
    for line in bill.lines:
        guess = "estimated: " if line.estimated else ""
        seconds = f"{line.seconds:,.1f}"
        table.add_row(f"{line.kind}: {line.name}", f"{line.epochs:,}", seconds, guess + line.words)
    table.add_row(
        "counterfactual", f"{bill.counterfactual_epochs:,}", f"{bill.counterfactual_seconds:,.1f}",
        "trials without stopping, duplicates answered and constant states: spent and saved, estimated",
    )  # fmt: skip
    return table


def importance_lines(view: FrontView) -> list[str]:
    """Returns the importances as bars of characters, the interval beside each."""
    lines = []
    for one in view.importance:
        lines.append(one.words if one.settings else f"importance ({one.question}): {one.words}")
        for each in one.settings:
            bar = "#" * round(each.share * BAR)
            chance = "" if each.told_apart else " ~ no more than chance gives it"
            lines.append(
                f"  {each.setting:<22} {bar:<{BAR}} {each.share:.2f} [{each.low:.2f}, {each.high:.2f}]{chance}"
            )
    return lines


def closing_lines(view: FrontView) -> list[str]:
    """Returns what to know below the table: counts, hypervolume, and what the intervals say."""
    counts = ", ".join(f"{number} {name}" for name, number in view.counts.items() if number)
    volume = view.hypervolume
    differences = [one for member in view.members for one in member.against_control[:1]]
    apart = sum(one.told_apart for one in differences)
    lines = [
        f"{counts}; {view.seconds:.0f} s; outcome: {view.outcome}",
        f"hypervolume {volume.words} (selection split, above {volume.reference_score:.3f}, "
        f"left of P = {volume.reference_parameters:,}); by the scores that brought members in {volume.raw:.4f}, "
        f"{volume.without_derived:.4f} without derived adapters",
        *derived_lines(view),
        confirmation_line(view),
        *curse_lines(view),
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
