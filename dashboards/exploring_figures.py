"""The explorer's figures, from plain data. Colours are Okabe and Ito's; markers and dashes say the same in black."""

from dataclasses import replace
from typing import Any

import plotly.graph_objects as go

from exploring_data import Loaded, Search, Trial

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SYMBOLS = {
    "finished": "circle-open", "stopped": "x-thin-open", "failed": "cross-thin-open", "running": "circle-dot",
    "unfinished": "hourglass-open", "derived": "star-open",
}  # fmt: skip
LETTERS = {"qr-lora": "Q", "svd-diagonal": "S", "random-basis": "R", "lora": "L", "svd-lora": "V", "full": "F"}
METHODS = ("qr-lora", "svd-diagonal", "random-basis", "lora", "svd-lora", "full")
FRONT_SYMBOLS = ("diamond", "square", "triangle-up", "circle", "triangle-down", "cross")
DASHES = ("solid", "dash", "dashdot", "dot")
CONTROL_X = 0.4
LEAST_SPAN = 0.05
TICKS = {CONTROL_X: "0 //", **{10.0**power: f"{10**power:,}" for power in range(9)}}


def colour_of(method: str) -> str:
    """Returns a method's colour."""
    return COLOURS[METHODS.index(method) % len(COLOURS) if method in METHODS else -1]


def front_figure(loaded: list[Loaded], shown: list[Trial]) -> go.Figure:
    """Returns score against parameters: every shown trial by state and method, and each search's front with its band.
    Where a search was confirmed over several warm-ups, its trials are drawn on the level of all of them.

    customdata of a point: [the search's run, the trial's number, how many of its coefficients are kept or 0].
    """
    several = len({one.method for one in shown}) > 1
    figure, leads = go.Figure(), {one.search.run: one.lead for one in loaded}
    for state, symbol in SYMBOLS.items():
        for method in METHODS:
            group = [one for one in shown if one.state == state and one.method == method and one.score is not None]
            if group:
                figure.add_scatter(
                    x=[max(CONTROL_X, one.parameters) for one in group],
                    y=[one.score - leads.get(one.parent, 0.0) for one in group],
                    mode="markers+text" if several else "markers",
                    name=f"{state}, {method}{f' [{LETTERS.get(method)}]' if several else ''} ({len(group)})",
                    text=[LETTERS.get(method, "?") if several else ""] * len(group), textposition="top center",
                    textfont={"size": 9, "color": colour_of(method)},
                    hovertext=[f"{one.search} {one.name}: {one.words}" for one in group],
                    customdata=[[one.parent, one.number, one.kept or 0] for one in group],
                    marker={"symbol": symbol, "size": 9, "color": colour_of(method),
                            "line": {"width": 1.6, "color": colour_of(method)}},
                )  # fmt: skip
    for place, one in enumerate(loaded):
        _add_front(figure, one, place)
    _label(figure, loaded)
    return figure


def waiting_figure() -> go.Figure:
    """Returns empty axes as high as the front's, for the time in which trials are read."""
    figure = go.Figure(layout={"template": "simple_white", "height": 540, "margin": {"t": 40, "b": 40}})
    figure.add_annotation(text="reading trials", showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    return figure.update_xaxes(showticklabels=False).update_yaxes(showticklabels=False)


def _add_front(figure: go.Figure, one: Loaded, place: int) -> None:
    control, members = one.search.control, one.members
    if control is not None:
        control -= one.lead
        figure.add_scatter(
            x=[CONTROL_X], y=[control], mode="markers", name=f"{one.search.name}: control {control:.3f}",
            marker={"symbol": f"{FRONT_SYMBOLS[place % 6]}-open", "size": 11, "color": "#000000"},
            text=["control: the warmed-up model, 0 adapter parameters"], error_y=_reach(one),
        )  # fmt: skip
    if not members:
        return
    figure.add_scatter(
        x=[member.parameters for member in members], y=[member.score for member in members], mode="lines+markers",
        name=f"{one.search.name}: front ({len(members)})",
        line={"shape": "hv", "color": "#000000", "dash": DASHES[place % 4], "width": 1.5},
        marker={"symbol": FRONT_SYMBOLS[place % 6], "size": 10, "color": "#000000"},
        text=[f"trial {member.trial}: {member.words}; {member.report}" for member in members],
        customdata=[[one.search.run, member.trial, member.kept or 0] for member in members],
        error_y={
            "type": "data", "symmetric": False, "thickness": 1,
            "array": [member.high - member.score for member in members],
            "arrayminus": [member.score - member.low for member in members],
        },
    )  # fmt: skip


def gains_figure(view: dict[str, Any]) -> go.Figure | None:
    """Returns what the members of a front view add to the better control, with paired intervals; None without any."""
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for one in view.get("members", []):
        for each in ([one["on_selection"]] if one.get("on_selection") else []) + one.get("against_control", [])[:1]:
            found.setdefault(each["split"], []).append((one["parameters"], each))
    figure = go.Figure()
    for place, (split, mine) in enumerate(found.items()):
        figure.add_scatter(
            x=[size * (1 + 0.12 * place) for size, _ in mine], y=[each["difference"] for _, each in mine],
            mode="markers", name=f"{split}, n = {mine[0][1]['n']}, over {mine[0][1].get('over', 'examples')}",
            marker={"symbol": ("circle", "diamond-open")[place % 2], "size": 9,
                    "color": ("#000000", COLOURS[0])[place % 2]},
            error_y={"type": "data", "symmetric": False, "thickness": 1,
                     "array": [each["high"] - each["difference"] for _, each in mine],
                     "arrayminus": [each["difference"] - each["low"] for _, each in mine]},
        )  # fmt: skip
    figure.add_hline(y=0.0, line={"dash": "dot", "color": "#888888", "width": 1})
    figure.update_xaxes(
        type="log", title="adapter parameters (log scale)", tickvals=list(TICKS), ticktext=list(TICKS.values())
    )
    figure.update_layout(
        template="simple_white", height=280, margin={"t": 40, "b": 40},
        yaxis={"title": f"{view.get('objective', 'score')} minus control"},
        title="What members add to the control: paired, 95 %; what touches 0 is not told apart",
        legend={"y": -0.4, "orientation": "h"},
    )  # fmt: skip
    return figure if found else None


def _reach(one: Loaded) -> dict[str, Any] | None:
    """Returns how far the control's 95 % interval reaches, where a front view holds it."""
    found = [each["selection"] for each in one.view.get("controls", []) if each["kind"] == "warm-up"]
    if not found:
        return None
    below, above = found[0]["score"] - found[0]["low"], found[0]["high"] - found[0]["score"]
    return {
        "type": "data", "symmetric": False, "thickness": 1, "array": [max(0.0, above)], "arrayminus": [max(0.0, below)],
    }  # fmt: skip


def _range(figure: go.Figure) -> list[float] | None:
    """Returns a range for scores that all but coincide, which would else fill the axis with nothing; None otherwise."""
    scores = [float(y) for trace in figure.data for y in trace.y]
    widest = [
        float(far) for trace in figure.data for far in (trace.error_y.array if trace.error_y.array is not None else ())
    ]
    if not scores or max(scores) - min(scores) + 2 * max(widest, default=0.0) >= LEAST_SPAN:
        return None
    middle = (max(scores) + min(scores)) / 2
    return [middle - LEAST_SPAN / 2, middle + LEAST_SPAN / 2]


def _label(figure: go.Figure, loaded: list[Loaded]) -> None:
    objectives = sorted({one.search.objective for one in loaded})
    rows = sorted({one.search.rows for one in loaded})
    marks = "".join(f" ({mark})" for mark in sorted({mark for one in loaded for mark in one.marks}))
    figure.update_xaxes(
        type="log", title="adapter parameters (log scale)", tickvals=list(TICKS), ticktext=list(TICKS.values())
    )
    figure.update_yaxes(
        title=f"{' / '.join(objectives)} on the selection split, n = {' / '.join(rows)}", range=_range(figure)
    )
    figure.update_layout(
        template="simple_white", height=540, clickmode="event+select", margin={"t": 40, "b": 40},
        title=f"Score against parameters{marks}", legend={"y": -0.2, "orientation": "h"},
    )  # fmt: skip


def curve_figure(
    trial: Trial, score: tuple[list[int], list[float]], loss: tuple[list[int], list[float]], search: Search
) -> go.Figure:
    """Returns a trial's score and held-out loss by epoch; of a derived adapter those of its trial, and its own score
    behind them. Both are of the selection split.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=score[0], y=score[1], mode="lines+markers", name=search.objective, line={"color": COLOURS[0]},
        error_y={"type": "constant", "value": 1.96 * trial.error, "thickness": 1} if trial.error else None,
    )  # fmt: skip
    figure.add_scatter(
        x=loss[0], y=loss[1], mode="lines+markers", name="held-out loss (right)", yaxis="y2",
        line={"color": COLOURS[1], "dash": "dash"}, marker={"symbol": "square-open"},
    )  # fmt: skip
    name = replace(trial, kept=None).name
    if trial.kept and trial.score is not None and score[0]:
        figure.add_scatter(
            x=[max(score[0])], y=[trial.score], mode="markers", name=f"its {trial.kept} largest",
            marker={"symbol": "star-open", "size": 11, "color": "#000000"},
        )  # fmt: skip
    figure.update_layout(
        template="simple_white", height=340, margin={"t": 30, "b": 40},
        title=f"{name[:1].upper()}{name[1:]} by epoch; bars: 95 % over examples",
        xaxis={"title": "epoch", "dtick": 1}, yaxis={"title": f"{search.objective},<br>selection, n = {search.rows}"},
        yaxis2={
            "title": f"held-out loss, selection,<br>{search.loss}, n = {search.rows}",
            "overlaying": "y", "side": "right",
        }, legend={"y": -0.3, "orientation": "h"},
    )  # fmt: skip
    return figure


def live_figure(score: tuple[list[int], list[float]], search: Search) -> go.Figure:
    """Returns the hypervolume by trials ended. It has an interval once the search has ended, and says so."""
    figure = go.Figure()
    figure.add_scatter(x=score[0], y=score[1], mode="lines+markers", line={"color": COLOURS[0], "shape": "hv"})
    figure.update_layout(
        template="simple_white", height=270, margin={"t": 30, "b": 40}, xaxis={"title": "trials ended"},
        yaxis={"title": f"hypervolume, {search.objective}<br>x log10(1 + parameters)"},
        title=f"Hypervolume of the raw front, selection split, n = {search.rows}; no interval while the search runs",
    )  # fmt: skip
    return figure


def importance_figure(importance: dict[str, Any]) -> go.Figure:
    """Returns the shares of settings with their bootstrap intervals."""
    lines = importance["settings"][::-1]
    figure = go.Figure()
    figure.add_bar(
        x=[one["share"] for one in lines], y=[one["setting"] for one in lines], orientation="h",
        marker={"color": COLOURS[0]},
        error_x={
            "type": "data", "symmetric": False, "array": [max(0.0, one["high"] - one["share"]) for one in lines],
            "arrayminus": [max(0.0, one["share"] - one["low"]) for one in lines],
        },
    )  # fmt: skip
    figure.add_scatter(
        x=[min(1.0, one.get("chance", 0.0)) for one in lines], y=[one["setting"] for one in lines], mode="markers",
        name="by chance", marker={"symbol": "line-ns-open", "size": 14, "color": "#000000", "line": {"width": 3}},
    )  # fmt: skip
    figure.update_layout(
        template="simple_white", height=120 + 28 * len(lines), margin={"t": 30, "b": 40}, showlegend=False,
        xaxis={"title": "share of importance (95 % over trials; thick line: what chance gives)"},
        title=f"{importance['question']}, n = {importance['n']} Finished trials",
    )  # fmt: skip
    return figure
