"""front.html: one file, no network: an interactive plot and the table of the front."""

import html
from typing import Any

from qrlora_search.app.draw_sections import sections
from qrlora_search.app.front_view import FrontView, MemberView, ScoreView
from qrlora_search.app.plot_data import BESIDE, CONTROL_X, TICKS, FrontPlot, plot_data

_SYMBOLS = {
    "finished": "circle-open",
    "stopped": "x-thin-open",
    "failed": "cross-thin-open",
    "unfinished": "circle-dot",
    "derived": "triangle-down-open",
}
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#111}
table{border-collapse:collapse;margin:1rem 0;
font-variant-numeric:tabular-nums}th,td{padding:.3rem .7rem;text-align:right;
border-bottom:1px solid #ddd}th:nth-child(2),td:nth-child(2){text-align:left}.banner{background:#111;color:#fff;
padding:.8rem 1rem;font-weight:600}ul{color:#444}"""


def front_html(view: FrontView) -> str:
    """Returns a self-contained page."""
    banner = "".join(f'<p class="banner">{html.escape(mark)}</p>' for mark in view.marks)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in view.notes)
    title = html.escape(f"QR-LoRA front: {view.title}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>"
        f"<body>{banner}<h1>{title}</h1>{_plot(plot_data(view))}{_table(view)}{sections(view)}<ul>{notes}</ul></body></html>"
    )


def _plot(plot: FrontPlot) -> str:
    from plotly.subplots import make_subplots

    rows = 2 if plot.gains else 1
    figure = make_subplots(rows, 1, shared_xaxes=True, row_heights=[0.72, 0.28][:rows], vertical_spacing=0.05)
    for cloud in plot.clouds:
        marker = {"symbol": _SYMBOLS[cloud.state.split()[0]], "color": "#888", "size": 8}
        figure.add_scatter(x=cloud.x, y=cloud.y, mode="markers", name=cloud.state, text=cloud.words, marker=marker)
    _members(figure, plot)
    marker = {"symbol": "diamond-open", "size": 10, "color": "#0072b2"}
    below, above = plot.report_errors
    figure.add_scatter(
        x=[place * BESIDE for place in (CONTROL_X, *plot.members_x)], y=[plot.control_report, *plot.members_report],
        mode="markers", name=plot.report_label, marker=marker, text=[plot.control_label, *plot.members_words],
        error_y={"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1},
    )  # fmt: skip
    figure.add_scatter(
        x=[CONTROL_X], y=[plot.control], mode="markers", name=plot.control_label,
        marker={"symbol": "square", "size": 10, "color": "#111"},
        error_y=_reach([plot.control], [plot.control_low], [plot.control_high]),
    )  # fmt: skip
    figure.add_hline(y=plot.control, line={"dash": "dot", "color": "#888", "width": 1}, row=1, col=1)
    figure.update_xaxes(type="log", tickvals=list(TICKS), ticktext=list(TICKS.values()), ticks="")
    figure.update_xaxes(title=plot.x_label, row=rows)
    figure.update_yaxes(title=plot.y_label, row=1)
    if plot.gains:
        _gains(figure, plot)
    figure.update_layout(
        template="simple_white",
        height=960 if plot.gains else 620,
        title=plot.title,
        margin={"t": 60},
        legend={"y": -0.2, "orientation": "h"},
    )
    inside: str = figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    return inside + f"<p>{html.escape(plot.footer)}</p>"


def _reach(y: list[float], low: list[float], high: list[float]) -> dict[str, Any]:
    """Returns plotly's error bars from values to the ends of their intervals."""
    return {
        "type": "data", "symmetric": False, "thickness": 1,
        "array": [max(0.0, end - one) for one, end in zip(y, high, strict=True)],
        "arrayminus": [max(0.0, one - end) for one, end in zip(y, low, strict=True)],
    }  # fmt: skip


def _members(figure: Any, plot: FrontPlot) -> None:
    """Draws the band and the members; derived ones have a mark of their own, and all the score that brought them in."""
    shape = {"shape": "hv", "width": 0}
    figure.add_scatter(
        x=plot.members_x, y=plot.members_low, mode="lines", line=shape, showlegend=False, hoverinfo="skip"
    )
    figure.add_scatter(
        x=plot.members_x, y=plot.members_high, mode="lines", line=shape, fill="tonexty", hoverinfo="skip",
        fillcolor="rgba(0,0,0,0.12)", name="95 % band",
    )  # fmt: skip
    symbols = ["triangle-down" if derived else "circle" for derived in plot.members_derived]
    figure.add_scatter(
        x=plot.members_x, y=plot.members_y, mode="markers+lines",
        name=f"front ({len(plot.members_x)}), selection split; triangles: derived",
        line={"shape": "hv", "color": "#111"}, marker={"size": 10, "color": "#111", "symbol": symbols},
        text=plot.members_words,
        error_y=_reach(plot.members_y, plot.members_low, plot.members_high),
    )  # fmt: skip
    if plot.members_first != plot.members_y:
        figure.add_scatter(
            x=plot.members_x, y=plot.members_first, mode="markers", name="score that brought it in",
            marker={"symbol": "line-ew-open", "size": 12, "color": "#111"}, text=plot.members_words,
        )  # fmt: skip


def _gains(figure: Any, plot: FrontPlot) -> None:
    """Draws what members add to the control, with paired intervals, below the front."""
    for one, symbol, colour, beside in zip(
        plot.gains, ("circle", "diamond-open"), ("#111", "#0072b2"), (1.0, BESIDE), strict=False
    ):
        figure.add_scatter(
            x=[x * beside for x in one.x], y=one.y, mode="markers", name=f"{plot.gains_label}: {one.label}",
            text=plot.members_words, marker={"symbol": symbol, "size": 9, "color": colour}, row=2, col=1,
            error_y=_reach(one.y, one.low, one.high),
        )  # fmt: skip
    figure.add_hline(y=0.0, line={"dash": "dot", "color": "#888", "width": 1}, row=2, col=1)
    figure.update_yaxes(title=plot.gains_y_label, row=2)


def _table(view: FrontView) -> str:
    splits = list(view.plan.counts.report)
    heads = ["trial", "adapts", "parameters", "learning rate", "selection, brought in", "selection, as it counts"]
    heads += ["P on front"]
    heads += [cell for split in splits for cell in (split, "minus control")]
    head = "".join(f"<th>{html.escape(one)}</th>" for one in heads)
    rows = ""
    for control in view.controls:
        cells = ["", f"control ({control.kind})", "0", "", "", _score(control.selection), ""]
        cells += [cell for score in control.report for cell in (_score(score), "")]
        rows += _row(cells)
    for one in view.members:
        rows += _row(_member_cells(one, splits))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _member_cells(one: MemberView, splits: list[str]) -> list[str]:
    cells = [one.name, one.words, f"{one.parameters:,}", f"{one.learning_rate:g}"]
    cells += [_score(one.first), _score(one.selection), "" if one.probability is None else f"{one.probability:.2f}"]
    scores = {score.split: score for score in one.report}
    differences = {difference.split: difference for difference in one.against_control}
    for split in splits:
        difference = differences.get(split)
        cells.append(_score(scores[split]) if split in scores else "")
        cells.append(
            f"{difference.difference:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]" if difference else ""
        )
    return cells


def _score(score: ScoreView) -> str:
    seeds = f", {score.repeats}" if score.repeats else ""
    return f"{score.score:.3f} [{score.low:.3f}, {score.high:.3f}] n={score.n}{seeds}"


def _row(cells: list[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
