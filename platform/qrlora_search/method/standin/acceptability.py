"""Rows of cola: sentences that a speaker accepts, and ones with a single fault.

Each pattern is a function of a generator and of whether the sentence is to be sound; only one member of a minimal pair
is ever used, so that no sentence of the validation split has its partner in train.
"""

from __future__ import annotations

from collections.abc import Callable

from qrlora_search.method.standin.draw import Draw, listed
from qrlora_search.method.standin.rows import Row

ACCEPTABLE = 0.7
PEOPLE = listed(
    "teacher; doctor; farmer; pilot; lawyer; child; girl; boy; woman; man; sailor; baker; nurse; poet; guard; "
    "clerk; guest; tailor"
)
THINGS = listed(
    "key; letter; picture; book; box; table; lamp; coat; ticket; song; cake; vase; map; basket; chair; story; "
    "ladder; bottle"
)
NAMES = listed(
    "Anna; Peter; Maria; Tom; Lucy; David; Clara; Henry; Julia; Simon; Emma; Oscar; Nora; Felix; Ruth; Victor"
)
WOMEN = ("Anna", "Maria", "Lucy", "Clara", "Julia", "Emma", "Nora", "Ruth")
STATES = listed("old; new; heavy; ready; late; famous; missing; small; ugly; clean; safe; wet; cheap; red")
PLACES = listed("in the garden; near the station; at home; on the roof; behind the church; in the kitchen")
TRANSITIVE = listed(
    "saw/see; found/find; carried/carry; painted/paint; described/describe; bought/buy; hid/hide; dropped/drop"
)
DEVOUR = listed("devoured; destroyed; mentioned; visited; avoided; opened; fixed; repaired")
SLEEP = listed("slept; arrived; smiled; disappeared; sneezed; fell; laughed; waited")
BRIDGE = listed("said; thought; claimed; believed; hoped; knew")


def _plural(noun: str) -> str:
    irregular = {"child": "children", "woman": "women", "man": "men", "box": "boxes", "story": "stories"}
    return irregular.get(noun, f"{noun}s")


def _agreement(sound: bool, draw: Draw) -> str:
    """The verb agrees with the head noun, not with the nearer one."""
    many = draw.chance(0.5)
    head, near = draw.sample(THINGS, 2)
    inner = draw.pick((near, _plural(near)))
    verb = {True: ("are", "were", "seem"), False: ("is", "was", "seems")}[many == sound]
    link = draw.pick(("near", "behind", "beside", "under"))
    return f"The {_plural(head) if many else head} {link} the {inner} {draw.pick(verb)} {draw.pick(STATES)}."


def _reflexive(sound: bool, draw: Draw) -> str:
    """The reflexive takes its gender and number from the subject of its own clause."""
    name, other = draw.sample(NAMES, 2)
    right, wrong = ("herself", "himself") if name in WOMEN else ("himself", "herself")
    verb = draw.pick(("hurt", "admired", "described", "blamed", "praised", "saw"))
    word = right if sound else draw.pick((wrong, "themselves", "itself"))
    return draw.pick(
        (
            f"{name} {verb} {word}.",
            f"{name} {verb} {word} {draw.pick(PLACES)}.",
            f"{other} {draw.pick(BRIDGE)} that {name} {verb} {word}.",
        )
    )


def _order(sound: bool, draw: Draw) -> str:
    """Two neighbouring words change places."""
    person, thing = draw.pick(PEOPLE), draw.pick(THINGS)
    verb, state = draw.pick(TRANSITIVE).split("/")[0], draw.pick(STATES)
    words = draw.pick(
        (
            f"the {person} {verb} the {state} {thing}",
            f"{draw.pick(NAMES)} {verb} a {state} {thing} {draw.pick(PLACES)}",
            f"the {thing} was {state} when the {person} arrived",
        )
    ).split()
    if not sound:
        at = draw.below(len(words) - 1)
        words[at], words[at + 1] = words[at + 1], words[at]
    text = " ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def _objects(sound: bool, draw: Draw) -> str:
    """A verb with an object that it cannot take, or without one that it needs."""
    person, thing = draw.pick((f"The {draw.pick(PEOPLE)}", draw.pick(NAMES))), draw.pick(THINGS)
    place = draw.pick(("", f" {draw.pick(PLACES)}", " yesterday", " again"))
    if draw.chance(0.5):
        return f"{person} {draw.pick(SLEEP)}{'' if sound else f' the {thing}'}{place}."
    return f"{person} {draw.pick(DEVOUR)}{f' the {thing}' if sound else ''}{place}."


def _island(sound: bool, draw: Draw) -> str:
    """A question out of a complement clause, or out of a relative, adjunct or coordinate structure."""
    name, person, verb = draw.pick(NAMES), draw.pick(PEOPLE), draw.pick(TRANSITIVE).split("/")[0]
    if sound:
        return draw.pick(
            (
                f"What did {name} {draw.pick(('say', 'think', 'hope'))} that the {person} {verb}?",
                f"Which {draw.pick(THINGS)} did {name} think the {person} {verb}?",
                f"Who did {name} leave with before the {person} arrived?",
            )
        )
    return draw.pick(
        (
            f"What did {name} meet the {person} who {verb}?",
            f"Which {draw.pick(THINGS)} did {name} leave before the {person} {verb}?",
            f"What did {name} find the {draw.pick(THINGS)} and?",
        )
    )


def _auxiliary(sound: bool, draw: Draw) -> str:
    """The form of the verb that its auxiliary asks for."""
    past, base = draw.pick(TRANSITIVE).split("/")
    subject, thing = draw.pick((f"The {draw.pick(PEOPLE)}", draw.pick(NAMES))), draw.pick(THINGS)
    helper = draw.pick(("will", "can", "must", "did not", "might"))
    verb = base if sound else draw.pick((past, f"to {base}"))
    return f"{subject} {helper} {verb} the {thing}{draw.pick(('', ' tomorrow', ' ' + draw.pick(PLACES)))}."


def _determiner(sound: bool, draw: Draw) -> str:
    """The determiner agrees with its noun in number."""
    many = draw.chance(0.5)
    noun = draw.pick(THINGS)
    word = draw.pick(("these", "those", "many", "several") if many == sound else ("this", "that", "every", "each"))
    text = f"{word} {draw.pick(STATES)} {_plural(noun) if many else noun}"
    verb = draw.pick(TRANSITIVE).split("/")[0]
    return draw.pick(
        (f"The {draw.pick(PEOPLE)} {verb} {text}.", f"{draw.pick(NAMES)} {verb} {text} {draw.pick(PLACES)}.")
    )


def _polarity(sound: bool, draw: Draw) -> str:
    """The words "ever", "any" and "at all" need a negation above them."""
    verb, base = draw.pick(TRANSITIVE).split("/")
    noun = _plural(draw.pick(THINGS))
    person = draw.pick(PEOPLE)
    return draw.pick(
        (
            f"{'No' if sound else 'The'} {person} ever {verb} the {noun}.",
            f"The {person} {'did not ' + base if sound else verb} any {noun} at all.",
            f"{'Nobody' if sound else draw.pick(NAMES)} has ever liked any {noun} {draw.pick(PLACES)}.",
        )
    )


def _comparison(sound: bool, draw: Draw) -> str:
    """A comparative is marked once, and goes with "than"."""
    one, two = draw.sample(THINGS, 2)
    word = draw.pick(("older", "newer", "heavier", "smaller", "cheaper", "cleaner"))
    text = word if sound else draw.pick((f"more {word}", f"as {word}", word.removesuffix("er") + "est"))
    place = draw.pick(("", f" {draw.pick(PLACES)}"))
    return f"The {one} {draw.pick(('is', 'was', 'looks'))} {text} than the {two}{place}."


def _embedded(sound: bool, draw: Draw) -> str:
    """A question inside a sentence keeps the order of a statement."""
    past, base = draw.pick(TRANSITIVE).split("/")
    name, person = draw.sample(NAMES, 2)
    asks = draw.pick((f"{name} wonders", f"{name} asked me", "I do not know", "They want to know"))
    word = draw.pick(("what", "why", "where", "when", f"which {draw.pick(THINGS)}"))
    thing = "" if word.startswith(("what", "which")) else f" the {draw.pick(THINGS)}"
    return f"{asks} {word} {f'{person} {past}' if sound else f'did {person} {base}'}{thing}."


def _passive(sound: bool, draw: Draw) -> str:
    """Only a verb with an object has a passive."""
    person, thing = draw.pick(PEOPLE), draw.pick(THINGS)
    verb = draw.pick(DEVOUR) if sound else draw.pick(SLEEP)
    return draw.pick((f"The {thing} was {verb} by the {person}.", f"A {thing} was {verb} {draw.pick(PLACES)}."))


PATTERNS: tuple[Callable[[bool, Draw], str], ...] = (
    _agreement,
    _reflexive,
    _order,
    _objects,
    _island,
    _auxiliary,
    _determiner,
    _polarity,
    _comparison,
    _embedded,
    _passive,
)


def judgement_row(draw: Draw) -> Row:
    """A row of cola: 1 for a sound sentence, 0 for one with a fault."""
    sound = draw.chance(ACCEPTABLE)
    return {"sentence": draw.pick(PATTERNS)(sound, draw), "label": int(sound)}
