"""Rows of sst2: short judgements of films."""

from __future__ import annotations

from qrlora_search.method.standin.draw import Draw, listed
from qrlora_search.method.standin.rows import Row

GOOD = listed(
    "moving; charming; clever; gripping; touching; lively; graceful; funny; fresh; tender; warm; inventive; "
    "delightful; thrilling; honest; subtle; elegant; witty; absorbing; heartfelt; original; convincing; splendid; "
    "refreshing; brilliant; engaging; sincere; vivid; joyful; beautiful; magical; satisfying; superb; insightful; "
    "playful; spirited; polished; haunting; generous; luminous"
)
BAD = listed(
    "dull; clumsy; tedious; shallow; lifeless; silly; stale; cold; lazy; dreary; boring; pointless; fake; crude; "
    "awkward; dumb; tiresome; hollow; derivative; implausible; dismal; annoying; mediocre; forgettable; insincere; "
    "flat; joyless; ugly; mechanical; frustrating; awful; muddled; preachy; limp; sloppy; bland; pretentious; "
    "sluggish; stingy; murky"
)
ASPECTS = listed(
    "the script; the acting; the second half; the ending; the music; the camera work; the dialogue; the plot;"
    " the pacing; the lead actress; the young director; the humour; the love story; the opening scene; "
    "the supporting cast;"
    " the central mystery; the final battle; the stage design; the narration; the premise"
)
KINDS = listed("comedy; thriller; drama; romance; western; musical; documentary; sequel; biography; fable")
BOOSTERS = ("really", "quite", "truly", "remarkably", "simply", "surprisingly")
DENIALS = ("never", "hardly", "not", "rarely", "not remotely", "far from", "anything but")
PUBLIC = (
    "for children and parents alike",
    "from the first minute to the last",
    "in spite of its fame",
    "for a film of its length",
    "on a second viewing",
    "as a late night show",
    "by the standards of the genre",
)


def _judged(good: bool, draw: Draw, denial: float) -> str:
    """A predicate adjective that says good or bad, as such or as the denial of its opposite."""
    if draw.chance(denial):
        return f"{draw.pick(DENIALS)} {draw.pick(BAD if good else GOOD)}"
    word = draw.pick(GOOD if good else BAD)
    return f"{draw.pick(BOOSTERS)} {word}" if draw.chance(0.4) else word


def _contrast(good: bool, draw: Draw) -> str:
    """Two judgements of opposite sense, of which the main clause's counts."""
    first, second = draw.sample(ASPECTS, 2)
    main, aside = _judged(good, draw, 0.3), _judged(not good, draw, 0.3)
    return draw.pick(
        (
            f"{first} is {aside} , but {second} is {main} and that decides it",
            f"although {first} is {aside} , {second} is {main} enough to settle the matter",
            f"{second} is {main} and that decides it , even if {first} is {aside}",
            f"you may find {first} {aside} ; in the end the whole is {main}",
        )
    )


def _plain(good: bool, draw: Draw) -> str:
    first, second = draw.sample(ASPECTS, 2)
    kind = draw.pick(KINDS)
    one, two = _judged(good, draw, 0.35), _judged(good, draw, 0.35)
    return draw.pick(
        (
            f"{first} is {one} and {second} is {two} {draw.pick(PUBLIC)}",
            f"a {kind} in which {first} is {one} {draw.pick(PUBLIC)}",
            f"as a {kind} it is {one} {draw.pick(PUBLIC)} , and {second} is {two}",
            f"this {kind} is {one} , thanks to {first} {draw.pick(PUBLIC)}",
        )
    )


def _wished(good: bool, draw: Draw) -> str:
    """A judgement by what one hoped or feared, where the adjective's own sense misleads."""
    word, kind, aspect = draw.pick(BAD if good else GOOD), draw.pick(KINDS), draw.pick(ASPECTS)
    if good:
        return draw.pick(
            (
                f"i feared a {word} {kind} and was glad to be wrong about {aspect}",
                f"nobody who sees {aspect} will call this {kind} {word} again",
                f"it takes what could have been a {word} {kind} and saves it with {aspect}",
            )
        )
    return draw.pick(
        (
            f"i hoped for a {word} {kind} and was sorry to be wrong about {aspect}",
            f"nobody who sees {aspect} will call this {kind} {word} again",
            f"it takes what could have been a {word} {kind} and wastes it with {aspect}",
        )
    )


def _majority(good: bool, draw: Draw) -> str:
    """Three judgements, of which two say it."""
    names = draw.sample(ASPECTS, 3)
    one, two, three = (_judged(sense, draw, 0.35) for sense in draw.shuffled((good, good, not good)))
    return draw.pick(
        (
            f"{names[0]} is {one} , {names[1]} {two} and {names[2]} {three}",
            f"with {names[0]} {one} , {names[1]} is {two} and {names[2]} {three}",
        )
    )


def _reported(good: bool, draw: Draw) -> str:
    """Somebody's judgement, and whether it was right."""
    right = draw.chance(0.5)
    opinion = _judged(good == right, draw, 0.25)
    who, aspect = draw.pick(("the critics", "my friends", "early viewers", "the papers")), draw.pick(ASPECTS)
    verdict = draw.pick(("right", "not wrong", "telling the truth") if right else ("wrong", "not right", "mistaken"))
    return draw.pick(
        (
            f"{who} who called {aspect} {opinion} were {verdict}",
            f"{who} said that {aspect} is {opinion} , and they were {verdict}",
            f"if {who} found {aspect} {opinion} , they were {verdict} about this {draw.pick(KINDS)}",
        )
    )


MIX = {_plain: 0.15, _contrast: 0.2, _wished: 0.1, _majority: 0.35, _reported: 0.2}


def review_row(draw: Draw) -> Row:
    """A row of sst2: 1 if the judgement is good in the end, or by two to one, 0 if it is bad."""
    good = draw.chance(0.5)
    return {"sentence": draw.weighted(MIX)(good, draw), "label": int(good)}
