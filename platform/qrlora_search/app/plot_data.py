"""What a picture of a front shows, as a plain data object: every drawing is made from it and tests look at it."""

from collections.abc import Sequence
from dataclasses import dataclass

from qrlora_search.app.front_view import ControlView, DifferenceView, FrontView, MemberView

CONTROL_X = 0.4
"""Where the control, of 0 parameters, stands on a log axis: left of everything, behind a broken axis."""
BESIDE = 1.12
"""The report split's points stand by so much to the right, so that both intervals of a member are seen."""
TICKS = {CONTROL_X: "0 //", **{10.0**power: f"{10**power:,}" for power in range(9)}}
MARKS = {"finished": "o", "stopped": "x", "failed": "+", "unfinished": ".", "derived": "v"}


@dataclass(frozen=True)
class Cloud:
    """Trials that ended alike. x: parameters, y: score on the selection split, on the level of all warm-ups."""

    state: str
    x: list[int]
    y: list[float]
    words: list[str]


@dataclass(frozen=True)
class Gains:
    """Members minus the better control on the same examples of one split. x: parameters, y: paired difference, with its
    95 % interval.
    """

    label: str
    x: list[int]
    y: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class FrontPlot:
    """control: its score on the selection split, with its 95 % interval. members: parameters, score on the selection
    split as it counts, its interval (the band), the score that brought it in, the score on the report split or None
    (report_errors: how far the 95 % intervals of the control's and the members' reach below and above), whether it is
    derived, and its method, empty where the search has one method alone. gains: what members add to the better control,
    on the selection split and then on the first report split. caption: what the band is over, with n.
    """

    title: str
    x_label: str
    y_label: str
    control: float
    control_low: float
    control_high: float
    control_report: float | None
    control_label: str
    clouds: list[Cloud]
    members_x: list[int]
    members_y: list[float]
    members_low: list[float]
    members_high: list[float]
    members_first: list[float]
    members_report: list[float | None]
    report_errors: tuple[list[float], list[float]]
    report_label: str
    members_derived: list[bool]
    members_words: list[str]
    members_methods: list[str]
    gains: list[Gains]
    gains_label: str
    gains_y_label: str
    caption: str
    footer: str


def plot_data(view: FrontView) -> FrontPlot:
    """Returns the picture of a front. Scores of one warm-up alone are moved to the level of all of them."""
    clouds, lead = [], view.confirmation.lead
    for state in MARKS:
        points = [point for point in view.points if point.state == state and point.score is not None]
        if points:
            clouds.append(
                Cloud(
                    state=f"{state} ({len(points)})",
                    x=[point.parameters for point in points],
                    y=[float(point.score or 0.0) - lead for point in points],
                    words=[f"trial {point.trial}: {point.words}" for point in points],
                )
            )
    control, members, several = view.better_control, view.members, len(view.plan.space.methods.of) > 1
    return FrontPlot(
        title=f"{view.title}: score against trained adapter parameters",
        x_label="adapter parameters (log scale)",
        y_label=f"{view.objective} on the selection split, n = {control.selection.n}",
        control=control.selection.score,
        control_low=control.selection.low,
        control_high=control.selection.high,
        control_report=control.report[0].score if control.report else None,
        control_label=f"control ({control.kind}), 0 adapter parameters: {control.selection.score:.3f}",
        clouds=clouds,
        members_x=[one.parameters for one in members],
        members_y=[one.selection.score for one in members],
        members_low=[one.selection.low for one in members],
        members_high=[one.selection.high for one in members],
        members_first=[one.first.score - lead for one in members],
        members_derived=[one.kept is not None for one in members],
        members_report=[one.report[0].score if one.report else None for one in members],
        report_errors=_report_errors([control, *members]),
        report_label=_report_label(control),
        members_words=[f"trial {one.name}: {one.words}, {one.parameters} parameters" for one in members],
        members_methods=[one.method if several else "" for one in members],
        gains=_gains(members),
        gains_label=f"minus control ({control.kind})",
        gains_y_label=f"{view.objective} minus control",
        caption=_caption(view),
        footer=(
            f"model {view.plan.model.name}; data {view.plan.data.name} ({view.plan.data.kind}); "
            f"hypervolume {view.hypervolume.words} on the selection split above "
            f"{view.hypervolume.reference_score:.3f}, left of P = {view.hypervolume.reference_parameters:,}; "
            f"{_caption(view)}"
        ),
    )


def _gains(members: Sequence[MemberView]) -> list[Gains]:
    found: dict[str, list[tuple[int, DifferenceView]]] = {}
    for one in members:
        for each in ([one.on_selection] if one.on_selection else []) + one.against_control[:1]:
            found.setdefault(each.split, []).append((one.parameters, each))
    return [
        Gains(
            label=f"{'' if split == 'selection' else 'report split, '}{split}, n = {mine[0][1].n}, over "
            f"{' or '.join(sorted({each.over for _, each in mine}))}",
            x=[size for size, _ in mine],
            y=[each.difference for _, each in mine],
            low=[each.low for _, each in mine],
            high=[each.high for _, each in mine],
        )
        for split, mine in found.items()
    ]


def _report_errors(points: Sequence[ControlView | MemberView]) -> tuple[list[float], list[float]]:
    spans = [(r[0].score - r[0].low, r[0].high - r[0].score) if (r := one.report) else (0.0, 0.0) for one in points]
    return [max(0.0, below) for below, _ in spans], [max(0.0, above) for _, above in spans]


def _report_label(control: ControlView) -> str:
    n = f", n = {control.report[0].n}" if control.report else ""
    return f"control and front, report split{n}, 95 % intervals, drawn beside"


def _caption(view: FrontView) -> str:
    """Returns what the band is over, and whether the front is confirmed."""
    if not view.members:
        return "the front is the control alone"
    over = {one.selection.over for one in view.members}
    seeds = [one.selection.seeds for one in view.members]
    span = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    kind = "confirmed by" if view.confirmation.status == "confirmed" else "UNCONFIRMED, of"
    counted = f"{kind} {span} {'further ' if kind == 'confirmed by' else ''}seed{'s' if span != '1' else ''} a member"
    if view.controls[0].selection.seeds == 1:
        return f"{counted}; band: 95 % over {' or '.join(sorted(over))}, given this one warm-up"
    moved = f"{-view.confirmation.lead:+.3f}"
    return (
        f"{counted}; band: 95 % over {' or '.join(sorted(over))}; warm-ups move all points alike; trials stand on one "
        f"of {view.confirmation.warmups} warm-ups and are drawn {moved}"
    )
