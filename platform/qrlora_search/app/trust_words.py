"""In words: how a front was confirmed, the winner's curse, and what derived adapters add."""

from qrlora_search.app.front_view import FrontView


def confirmation_line(view: FrontView) -> str:
    """Returns how the front was confirmed, or that it was not and why."""
    one = view.confirmation
    if one.status == "unconfirmed":
        return f"UNCONFIRMED: {one.reason}"
    left = sum(each.confirmed is None and not each.member for each in one.candidates)
    gone = sum(not each.member for each in one.candidates) - left
    lacking = f", {left} not confirmed" if left else ""
    return (
        f"confirmed: {len(one.candidates)} candidates, {gone} of them no members after further seeds{lacking}; "
        f"{one.reason} (the search trained {one.search_epochs})"
    )


def curse_lines(view: FrontView) -> list[str]:
    """Returns the winner's curse: what the selection promised against what further seeds and the report split gave."""
    one, parts = view.confirmation, []
    if one.curse is not None:
        told = sum(each.confirmed is not None for each in one.candidates)
        parts.append(f"{one.curse:+.4f} against further seeds (mean over {told} candidates)")
    if one.curse_report is not None and not view.plan.on_validation:
        less = "" if one.splits_apart is None else f", less {one.splits_apart:+.4f} by which the control differs there"
        parts.append(f"{one.curse_report:+.4f} against the report split{less} (mean over {len(view.members)} members)")
    lead = f"; without {one.lead:+.4f} by which its warm-up differs from the mean of all" if one.lead else ""
    return [f"winner's curse: the score that brought a member in promised {', '.join(parts)}{lead}"] if parts else []


def derived_lines(view: FrontView) -> list[str]:
    """Returns what parts of trials add to the hypervolume by further seeds, where that is known."""
    if view.hypervolume.derived is None:
        return []
    value, low, high = view.hypervolume.derived
    apart = "" if low > 0 else " ~ not told apart from nothing"
    return [
        f"derived adapters add {value:+.4f} [{low:+.4f}, {high:+.4f}] to the hypervolume by further seeds, against the "
        f"same trials whole{apart}"
    ]
