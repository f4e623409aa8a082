"""front.png: the front as a picture that reads in black and white."""

import io
import textwrap

from qrlora_search.app.front_view import FrontView
from qrlora_search.app.plot_data import BESIDE, CONTROL_X, MARKS, TICKS, FrontPlot, plot_data


def front_png(view: FrontView) -> bytes:
    """Returns the picture of a front as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plot = plot_data(view)
    heights = (4.6, 1.5) if plot.gains else (4.6,)
    figure = Figure(figsize=(9, sum(heights) + 2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    below = figure.add_gridspec(len(heights) + 1, 1, height_ratios=(*heights, 1.0))
    front = figure.add_subplot(below[0])
    rows = [front, *([figure.add_subplot(below[1], sharex=front)] if plot.gains else [])]
    _draw(front, plot)
    if plot.gains:
        _gains(rows[1], plot)
        front.tick_params(labelbottom=False)
    rows[-1].set_xlabel(plot.x_label)
    legend = figure.add_subplot(below[-1])
    legend.set_axis_off()
    shown = [pair for one in rows for pair in zip(*one.get_legend_handles_labels(), strict=True)]
    legend.legend(*zip(*shown, strict=True), loc="upper center", ncols=2, fontsize=8, frameon=False, borderpad=0)
    figure.supxlabel("\n".join(textwrap.wrap(plot.footer, 150)), fontsize=7, color="0.35")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _reach(y: list[float], low: list[float], high: list[float]) -> list[list[float]]:
    """Returns how far intervals reach below and above values, as matplotlib takes it."""
    below = [max(0.0, one - end) for one, end in zip(y, low, strict=True)]
    return [below, [max(0.0, end - one) for one, end in zip(y, high, strict=True)]]


def _draw(axes, plot: FrontPlot) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - matplotlib's axes
    axes.set_xscale("log")
    axes.axhline(plot.control, color="0.5", linewidth=0.8, linestyle=":")
    reach = _reach([plot.control], [plot.control_low], [plot.control_high])
    axes.errorbar([CONTROL_X], [plot.control], yerr=reach, fmt="s", color="black", ecolor="0.35", elinewidth=0.8,
                  capsize=2, label=plot.control_label)  # fmt: skip
    for cloud in plot.clouds:
        kind = cloud.state.split()[0]
        axes.plot(cloud.x, cloud.y, MARKS[kind], color="0.6", markersize=5, label=cloud.state, zorder=1)
    if plot.members_x:
        _members(axes, plot)
        axes.step(
            [CONTROL_X, *plot.members_x], [plot.control, *plot.members_y], where="post", color="black", linewidth=1,
            label="what the front reaches at so many parameters",
        )  # fmt: skip
    reported = zip(
        [CONTROL_X, *plot.members_x], [plot.control_report, *plot.members_report], *plot.report_errors, strict=True
    )
    shown = [one for one in reported if one[1] is not None]
    if shown:
        x, y, below, above = zip(*shown, strict=True)
        beside = [place * BESIDE for place in x]
        axes.errorbar(beside, y, yerr=[below, above], fmt="D", color="tab:blue", markerfacecolor="none", elinewidth=0.8,
                      capsize=2, label=plot.report_label, zorder=4)  # fmt: skip
    axes.set_xticks(list(TICKS), list(TICKS.values()))
    axes.minorticks_off()
    widest = max([100, *plot.members_x, *(x for cloud in plot.clouds for x in cloud.x)])
    axes.set_xlim(0.6 * CONTROL_X, widest * 2)
    axes.set_title(plot.title, fontsize=11)
    axes.set_ylabel(plot.y_label)
    axes.grid(visible=True, axis="y", color="0.9")


def _members(axes, plot: FrontPlot) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - matplotlib's axes
    """Draws the band, the members (derived ones as triangles) and the scores that brought them in."""
    axes.fill_between(
        plot.members_x, plot.members_low, plot.members_high, step="post", color="0.85", linewidth=0, zorder=0
    )
    for derived, mark, kind in ((False, "o", "front"), (True, "v", "front, derived")):
        mine = [place for place, one in enumerate(plot.members_derived) if one == derived]
        if not mine:
            continue
        x, y, low, high = (
            [each[place] for place in mine]
            for each in (plot.members_x, plot.members_y, plot.members_low, plot.members_high)
        )
        errors = _reach(y, low, high)
        axes.errorbar(
            x, y, yerr=errors, fmt=mark, color="black", ecolor="0.35", elinewidth=0.8, capsize=2, zorder=3,
            label=f"{kind} ({len(mine)}), selection split, 95 % band",
        )  # fmt: skip
    for *place, method in zip(plot.members_x, plot.members_y, plot.members_methods, strict=True):
        if method:
            axes.annotate(method, place, (5, 6), textcoords="offset points", fontsize=7, rotation=60, zorder=5)
    if plot.members_first != plot.members_y:
        axes.plot(
            plot.members_x, plot.members_first, "_", color="black", markersize=9, label="score that brought it in"
        )


def _gains(axes, plot: FrontPlot) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - matplotlib's axes
    """Draws what members add to the control, with paired intervals: a band that touches 0 tells nothing apart."""
    axes.axhline(0.0, color="0.5", linewidth=0.8, linestyle=":")
    for one, mark, colour, beside in zip(plot.gains, ("o", "D"), ("black", "tab:blue"), (1.0, BESIDE), strict=False):
        reach = _reach(one.y, one.low, one.high)
        axes.errorbar([x * beside for x in one.x], one.y, yerr=reach, fmt=mark, color=colour, elinewidth=0.8, capsize=2,
                      markersize=5, markerfacecolor="none" if beside > 1 else colour,
                      label=f"{plot.gains_label}, paired: {one.label}")  # fmt: skip
    axes.set_ylabel(plot.gains_y_label, fontsize=9)
    axes.grid(visible=True, axis="y", color="0.9")
    axes.minorticks_off()
