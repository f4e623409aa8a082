"""The sections of front.html below the plot: picks, the winner's curse, importance, the bill."""

import html
from collections.abc import Iterable, Sequence

from qrlora_search.app.front_view import FrontView, ImportanceView
from qrlora_search.app.trust_words import confirmation_line, curse_lines, derived_lines


def sections(view: FrontView) -> str:
    """Returns the sections as HTML without scripts of their own; plotly's library is on the page already."""
    return "".join([_picks(view), _curse(view), _importance(view), _bill(view)])


def rows(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Returns a table; every cell is escaped."""
    head = "".join(f"<th>{html.escape(one)}</th>" for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _picks(view: FrontView) -> str:
    return "<h2>Picks</h2>" + rows(("pick", "which"), [(one.name, one.words) for one in view.picks])


def _curse(view: FrontView) -> str:
    said = "".join(
        f"<p>{html.escape(line)}</p>" for line in (confirmation_line(view), *curse_lines(view), *derived_lines(view))
    )
    reported = {(one.trial, one.kept): f"{one.report[0].score:.4f}" for one in view.members if one.report}
    heads = (
        "trial",
        "candidate",
        "parameters",
        "brought in",
        "further seeds",
        "seeds",
        "P on front",
        "report",
        "member",
    )
    lines = [
        (
            str(one.trial),
            "derived" if one.kept is not None else "trained",
            f"{one.parameters:,}",
            f"{one.first:.4f}",
            "" if one.confirmed is None else f"{one.confirmed:.4f}",
            str(one.seeds),
            "" if one.probability is None else f"{one.probability:.2f}",
            reported.get((one.trial, one.kept), ""),
            "yes" if one.member else f"no: {one.reason}",
        )
        for one in view.confirmation.candidates
    ]
    return "<h2>Confirmation and the winner's curse</h2>" + said + rows(heads, lines)


def _importance(view: FrontView) -> str:
    return "<h2>What buys accuracy per parameter</h2>" + "".join(_bars(one) for one in view.importance)


def _bars(view: ImportanceView) -> str:
    if not view.settings:
        return f"<p>{html.escape(f'{view.question}: {view.words}')}</p>"
    import plotly.graph_objects as go

    shown = view.settings[::-1]
    figure = go.Figure()
    figure.add_bar(
        x=[one.share for one in shown], y=[one.setting for one in shown], orientation="h",
        marker={"color": "#bbb", "line": {"color": "#111", "width": 1}},
        error_x={
            "type": "data", "symmetric": False, "color": "#111",
            "array": [max(0.0, one.high - one.share) for one in shown],
            "arrayminus": [max(0.0, one.share - one.low) for one in shown],
        },
    )  # fmt: skip
    figure.add_scatter(
        x=[min(1.0, one.chance) for one in shown], y=[one.setting for one in shown], mode="markers", name="by chance",
        marker={"symbol": "line-ns-open", "size": 16, "color": "#111", "line": {"width": 3}},
    )  # fmt: skip
    figure.update_xaxes(
        title=f"share of importance, n = {view.n} Finished trials; bars: 95 % over trials; thick line: what chance "
        "gives in one of twenty shuffles", range=[0, 1],
    )  # fmt: skip
    figure.update_layout(
        template="simple_white", height=120 + 32 * len(shown), title=view.words, margin={"t": 50}, showlegend=False
    )
    inside: str = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
    return inside


def _bill(view: FrontView) -> str:
    bill = view.bill
    lines: list[tuple[str, ...]] = [
        (one.kind, one.name, f"{one.epochs:,}", f"{one.seconds:,.1f}", "yes" if one.estimated else "no", one.words)
        for one in bill.lines
    ]
    lines.append(
        ("", "counterfactual", f"{bill.counterfactual_epochs:,}", f"{bill.counterfactual_seconds:,.1f}", "yes",
         "the trials without stopping, duplicates answered and constant states")
    )  # fmt: skip
    return "<h2>Bill</h2>" + rows(("", "what", "epochs", bill.unit, "estimated", "how"), lines)
