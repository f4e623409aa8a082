"""A comparison as a picture and as a page: fronts over one another with bands, on one plain data object."""

import html
import io
from dataclasses import dataclass

from qrlora_search.app.compare_console import basis_of, importance_cells, pair_lines, setting_cell
from qrlora_search.app.compare_view import Comparison, Group, SearchLine
from qrlora_search.app.plot_data import CONTROL_X, TICKS

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which the colour-blind tell apart; markers and dashes say the same in black and white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PLOTLY_MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
DASHES = ("-", "--", "-.", ":")
PLOTLY_DASHES = ("solid", "dash", "dashdot", "dot")


@dataclass(frozen=True)
class FrontCurve:
    """One search's staircase. x: parameters, the control's place first; y: score; low, high: the 95 % band."""

    name: str
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]
    words: list[str]


def curves_of(group: Group) -> list[FrontCurve]:
    """Returns the staircases of a group's searches."""
    return [_curve(one) for one in group.searches]


def _curve(one: SearchLine) -> FrontCurve:
    return FrontCurve(
        name=f"{one.name} ({len(one.front)} of {one.finished} Finished)",
        x=[CONTROL_X, *(float(point.parameters) for point in one.front)],
        y=[one.control, *(point.score for point in one.front)],
        low=[one.control_low, *(point.low for point in one.front)],
        high=[one.control_high, *(point.high for point in one.front)],
        words=["control", *(f"trial {point.trial}: {point.words}" for point in one.front)],
    )


def _to_the_right(curve: FrontCurve, right: float) -> tuple[list[float], list[float], list[float], list[float]]:
    """Returns x, y, low and high of a staircase, its last step drawn on to the right end, where no marker stands."""
    return [*curve.x, right], [*curve.y, curve.y[-1]], [*curve.low, curve.low[-1]], [*curve.high, curve.high[-1]]


def _right_end(group: Group) -> float:
    return 1.6 * max([10.0, *(x for curve in curves_of(group) for x in curve.x)])


def _labels(group: Group) -> tuple[str, str]:
    axis = f"{group.objective} on the selection split, n = {group.n}; bands: 95 % over {group.over}"
    return "adapter parameters (log scale; control at 0)", axis


def comparison_png(comparison: Comparison) -> bytes:
    """Returns the picture: a panel a group."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5 * len(comparison.groups)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for place, group in enumerate(comparison.groups, start=1):
        axes = figure.add_subplot(len(comparison.groups), 1, place)
        axes.set_xscale("log")
        for number, curve in enumerate(curves_of(group)):
            colour = COLOURS[number % len(COLOURS)]
            x, y, low, high = _to_the_right(curve, _right_end(group))
            axes.step(
                x, y, where="post", markevery=list(range(len(curve.x))), color=colour, label=curve.name, linewidth=1.4,
                linestyle=DASHES[number % len(DASHES)], marker=MARKERS[number % len(MARKERS)], markersize=5,
            )  # fmt: skip
            axes.fill_between(x, low, high, step="post", color=colour, alpha=0.12, linewidth=0)
        axes.axhline(group.reference, color="0.5", linewidth=0.8, linestyle=":", label="reference: the lowest control")
        x_label, y_label = _labels(group)
        axes.set(xlabel=x_label, ylabel=y_label, title=f"{group.title}\n{basis_of(group)}")
        axes.set_xticks(list(TICKS), list(TICKS.values()))
        axes.minorticks_off()
        axes.set_xlim(0.6 * CONTROL_X, _right_end(group))
        axes.yaxis.label.set_fontsize(8)
        axes.legend(fontsize=8, loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def comparison_html(comparison: Comparison) -> str:
    """Returns a self-contained page."""
    parts = []
    for place, group in enumerate(comparison.groups):
        banner = '<p class="banner">STAND-IN data: generated, not GLUE</p>' if group.stand_in else ""
        lines = "".join(f"<li>{html.escape(line)}</li>" for pair in group.pairs for line in pair_lines(pair))
        plot = _plot(group, with_library=place == 0)
        parts.append(
            f"{banner}<h2>{html.escape(group.title)}</h2><p>{html.escape(basis_of(group))}</p>{plot}{_areas(group)}<ul>{lines}</ul>"
        )
    left_out = "".join(f"<li>{html.escape(line)}</li>" for line in comparison.not_compared)
    notes = "".join(f"<li>{html.escape(line)}</li>" for line in comparison.notes)
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#111}"
        "th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}"
        ".banner{background:#111;color:#fff;padding:.8rem 1rem;font-weight:600}"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>QR-LoRA searches compared</title>'
        f"<style>{style}</style></head><body><h1>QR-LoRA searches compared</h1>{''.join(parts)}"
        f"{_settings(comparison)}{_importance(comparison)}"
        f"<h2>Not compared</h2><ul>{left_out or '<li>nothing was left out</li>'}</ul>"
        f"<ul>{notes}</ul></body></html>"
    )


def _plot(group: Group, with_library: bool) -> str:
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, curve in enumerate(curves_of(group)):
        colour = COLOURS[number % len(COLOURS)]
        x, y, low, high = _to_the_right(curve, _right_end(group))
        band = {"shape": "hv", "width": 0, "color": colour}
        figure.add_scatter(x=x, y=low, mode="lines", line=band, showlegend=False, hoverinfo="skip")
        figure.add_scatter(
            x=x, y=high, mode="lines", line=band, fill="tonexty", opacity=0.15, showlegend=False,
            hoverinfo="skip", fillcolor=f"rgba({','.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))},0.12)",
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=y, mode="lines+markers", name=curve.name, text=[*curve.words, ""],
            line={"shape": "hv", "color": colour, "dash": PLOTLY_DASHES[number % len(PLOTLY_DASHES)]},
            marker={"symbol": PLOTLY_MARKERS[number % len(PLOTLY_MARKERS)], "size": [9] * len(curve.x) + [0]},
        )  # fmt: skip
    figure.add_hline(
        y=group.reference, line={"dash": "dot", "color": "#888", "width": 1},
        annotation={"text": "reference: the lowest control", "font": {"size": 10, "color": "#555"}},
    )  # fmt: skip
    x_label, y_label = _labels(group)
    figure.update_xaxes(type="log", title=x_label, tickvals=list(TICKS), ticktext=list(TICKS.values()))
    figure.update_yaxes(title=y_label.replace("; ", "<br>"))
    figure.update_layout(template="simple_white", height=520, title=group.title, legend={"y": -0.2, "orientation": "h"})
    plot: str = figure.to_html(full_html=False, include_plotlyjs=with_library, config={"displaylogo": False})
    return plot


def _areas(group: Group) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(one.name)}</td><td>{html.escape(one.model)}</td><td>{one.seed}</td>"
        f"<td>{one.finished}</td><td>{one.control:.3f} [{one.control_low:.3f}, {one.control_high:.3f}]</td>"
        f"<td>{len(one.front)}</td><td>{one.hypervolume:.4f} [{one.low:.4f}, {one.high:.4f}]</td></tr>"
        for one in group.searches
    )
    heads = ("search", "model", "seed", "Finished", "control", "on the front", "hypervolume")
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table>"


def _settings(comparison: Comparison) -> str:
    if not comparison.settings:
        return ""
    tasks = list(comparison.settings[0].shares)
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in ("", "setting", "worst", *tasks))
    rows = ""
    for line in comparison.settings:
        worst = "-" if line.worst is None else f"{line.worst:.2f}"
        cells = [line.kind, line.value, worst, *(setting_cell(line, task) for task in tasks)]
        rows += "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
    return f"<h2>Which setting is good in every task</h2><table><tr>{heads}</tr>{rows}</table>"


def _importance(comparison: Comparison) -> str:
    if not comparison.importance:
        return ""
    tasks = list(comparison.importance[0].shares)
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in ("for", "setting", "mean", *tasks))
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in importance_cells(line)) + "</tr>"
        for line in comparison.importance
    )
    return f"<h2>What buys accuracy per parameter: share of importance</h2><table><tr>{heads}</tr>{rows}</table>"
