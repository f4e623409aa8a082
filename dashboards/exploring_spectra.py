"""The rank spectra of a trial's matrices, and where tau cuts them: each kind at its own tau where that is tilted."""

import json
from typing import Any

import plotly.graph_objects as go

from exploring_data import Search, Trial, number
from exploring_figures import COLOURS, DASHES, FRONT_SYMBOLS


def taus(trial: Trial, search: Search) -> dict[str, float]:
    """Returns the tau of each kind of matrix, e.g. {"q": 0.4, "v": 0.5}: the trial's, moved by the tilt of the kind and
    kept within the space's range, as it was cut. Empty where its method has no tau.
    """
    if trial.tau is None:
        return {}
    low, high = (number(search.params.get(f"space.tau.{end}")) for end in ("low", "high"))
    found = {}
    for kind in dict.fromkeys(kind for _, kind, _ in json.loads(trial.params.get("ranks", "[]"))):
        tilt = number(trial.params.get(f"tilt_{kind}"))
        moved = trial.tau if tilt is None else trial.tau + tilt
        if tilt is not None and low is not None and high is not None:
            moved = min(max(moved, low), high)
        found[kind] = moved
    return found


def cuts(trial: Trial, spectra: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns, for every matrix that a trial adapts, its cumulative share of energy by rank, and its rank.

    share[r - 1] = sum_{i<=r} R_ii^2 / sum_i R_ii^2. Empty without spectra or ranks.
    """
    ranks = {(layer, kind): rank for layer, kind, rank in json.loads(trial.params.get("ranks", "[]"))}
    result = []
    for one in spectra.get("matrices", []):
        place = (one["layer"], one["matrix"])
        if place in ranks:
            squares = [value * value for value in one["diagonal"]]
            total, reached, share = sum(squares) or 1.0, 0.0, []
            for value in squares:
                reached += value
                share.append(reached / total)
            name = f"W{one['matrix']} of layer {one['layer']}"
            result.append({
                "name": name, "kind": one["matrix"], "share": share, "diagonal": one["diagonal"], "rank": ranks[place],
            })  # fmt: skip
    return result


def why_none(trial: Trial) -> str:
    """Returns why a trial has no spectra to show."""
    if trial.method == "full":
        return "No rank spectra: full fine-tuning trains every weight, and tau cuts none."
    return "No rank spectra: this trial adapts no matrix, or its search kept none."


def spectra_figure(cut: list[dict[str, Any]], levels: dict[str, float], rule: str, method: str) -> go.Figure:
    """Returns, by matrix, the share of energy by rank (energy rule) or |R_ii| / |R_11| (threshold rule), with the level
    of each kind's tau and a mark at the rank that each matrix was cut at; without levels and marks where the method has
    no tau, which the title says.

    cut: of `cuts`. levels: of `taus`; one line for all kinds where they are equal.
    """
    figure = go.Figure()
    for place, one in enumerate(cut):
        values = one["share"] if rule == "energy" else one["diagonal"]
        colour, rank = COLOURS[place % len(COLOURS)], one["rank"]
        name = f"{one['name']}: r = {rank}" if levels else one["name"]
        figure.add_scatter(
            x=list(range(1, len(values) + 1)), y=values, mode="lines", name=name,
            line={"color": colour, "dash": DASHES[place // len(COLOURS) % 4]}, legendgroup=one["name"],
        )  # fmt: skip
        if levels:
            figure.add_scatter(
                x=[rank], y=[values[min(rank, len(values)) - 1]], mode="markers", showlegend=False,
                legendgroup=one["name"], marker={"symbol": FRONT_SYMBOLS[place % 6], "size": 11, "color": colour},
                text=[f"{one['name']}: cut at rank {rank}"],
            )  # fmt: skip
    for place, (tau, kinds) in enumerate(_levels(levels).items()):
        whose = "" if len(kinds) == len(levels) else f" of {', '.join(f'W{kind}' for kind in kinds)}"
        figure.add_hline(
            y=tau, line={"dash": "dot", "color": "#000000", "width": 1.2}, opacity=1.0,  # the template's width is 0
            annotation_text=f"tau{whose} = {tau:.3g}",
            annotation_position=("top right", "top left", "bottom right", "bottom left")[place % 4],
        )  # fmt: skip
    label = (
        "share of energy up to rank r,<br>sum of R_ii^2, 1 in all" if rule == "energy" else "|R_rr| / |R_11|, a ratio"
    )
    title = f"Rank spectra and tau's cut ({rule} rule)"
    figure.update_layout(
        template="simple_white", height=360, margin={"t": 30, "b": 40}, xaxis={"title": "rank r"},
        yaxis={"title": label}, title=title if levels else f"Rank spectra; no cut: {method} has no tau",
    )  # fmt: skip
    return figure


def _levels(levels: dict[str, float]) -> dict[float, list[str]]:
    """Returns the kinds of matrices by their tau."""
    found: dict[float, list[str]] = {}
    for kind, tau in levels.items():
        found.setdefault(tau, []).append(kind)
    return found
