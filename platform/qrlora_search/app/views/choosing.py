"""The picks of a front: the members that one would take, from the scores that count, and nothing else."""

from qrlora_search.app.front_view import MemberView, PickView
from qrlora_search.values.picks import best, best_under, knee, one_standard_error, smallest_better

UNDER = (10, 100, 1_000, 10_000, 100_000)
"""Sizes for which the best member of at most so many parameters is named."""


def pick_views(members: list[MemberView], control: float) -> list[PickView]:
    """Returns the knee, the best, the smallest within one standard error of it, the smallest better than the control,
    and the best under some sizes. control: the better control's score on the selection split.
    """
    if not members:
        none = "none: no trial was better than the control"
        return [_none(name, none) for name in ("knee", "best", "one-se", "beats-control")]
    sizes = [one.parameters for one in members]
    scores = [one.selection.score for one in members]
    top = best(scores)
    near = one_standard_error(sizes, scores, [one.selection.error for one in members])
    bends = knee(sizes, scores, control)
    views = [
        _pick("knee", members[bends], "farthest above the line from the control to the best"),
        _pick("best", members[top], "highest score on the selection split"),
        _pick("one-se", members[near], f"smallest within one standard error ({members[top].selection.error:.4f}) of "
              "the best"),
        _beats(members, sizes),
    ]  # fmt: skip
    for most in UNDER:
        place = best_under(sizes, scores, most)
        if place is not None and most < max(sizes):
            views.append(_pick(f"under-{most}", members[place], f"best of at most {most:,} parameters"))
    return views


def _beats(members: list[MemberView], sizes: list[int]) -> PickView:
    """Returns the smallest member whose difference to the control on the selection split has its interval above 0."""
    lows = [one.on_selection.low if one.on_selection else 0.0 for one in members]
    place = smallest_better(sizes, lows)
    if place is None:
        return _none("beats-control", "none: every member's difference to the control has 0 in its interval")
    return _pick(
        "beats-control", members[place], "smallest whose difference to the control on the selection split excludes 0"
    )


def _pick(name: str, member: MemberView, why: str) -> PickView:
    what = f"{why}: trial {member.name}, {member.parameters:,} parameters, {member.selection.score:.4f}"
    return PickView(name=name, trial=member.trial, kept=member.kept, parameters=member.parameters, words=what)


def _none(name: str, words: str) -> PickView:
    return PickView(name=name, trial=None, kept=None, parameters=None, words=words)
