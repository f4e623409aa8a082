"""Events: who did what, where, when and why, and the clauses that tell of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from qrlora_search.method.standin import topics
from qrlora_search.method.standin.draw import Draw, listed


class Slot(StrEnum):
    """The parts of an event; the first three are always told."""

    AGENT = "agent"
    VERB = "verb"
    OBJECT = "object"
    TRAIT = "trait"
    HELPER = "helper"
    CITY = "city"
    TIME = "time"
    PURPOSE = "purpose"
    DELAY = "delay"


CORE = (Slot.AGENT, Slot.VERB, Slot.OBJECT)
DETAILS = (Slot.TRAIT, Slot.HELPER, Slot.CITY, Slot.TIME, Slot.PURPOSE, Slot.DELAY)


@dataclass(frozen=True)
class Concept:
    """A meaning: names that all say it, a more general word, and the names of its opposite, if it has one."""

    names: tuple[str, ...]
    kind: str
    opposite: tuple[str, ...] = ()

    def flipped(self) -> Concept:
        """The opposite meaning; a concept without one is an error of the caller."""
        if not self.opposite:
            raise ValueError(f"{self.names[0]!r} has no opposite; only verbs and traits have")
        return Concept(self.opposite, self.kind, self.names)


@dataclass(frozen=True)
class Event:
    """What happened, with the pool that every part was drawn from, so that near misses can be drawn again."""

    parts: Mapping[Slot, Concept]
    pools: Mapping[Slot, Sequence[Concept]]

    def with_part(self, slot: Slot, concept: Concept) -> Event:
        """The same event with one part replaced."""
        return replace(self, parts={**self.parts, slot: concept})

    def changed(self, slot: Slot, draw: Draw) -> Event:
        """The same event with another meaning in one part."""
        avoid = {self.parts[slot].names, self.parts[Slot.AGENT].names, self.parts[Slot.HELPER].names}
        return self.with_part(slot, _pick(self.pools[slot], draw, avoid))


def _parse(entries: str) -> tuple[Concept, ...]:
    concepts = []
    for entry in listed(entries):
        sides, _, kind = entry.partition(">")
        names, _, opposite = (part.strip() for part in sides.partition("~"))
        split = tuple(tuple(filter(None, map(str.strip, side.split("|")))) for side in (names, opposite))
        concepts.append(Concept(split[0], kind.strip(), split[1]))
    return tuple(concepts)


@cache
def _pools(topic: str) -> Mapping[Slot, Sequence[Concept]]:
    words = {**topics.MAIN, **topics.OTHER}[topic]
    agents = _parse(words.agents)
    both_sides = {
        slot: tuple(side for concept in _parse(entries) for side in (concept, concept.flipped()))
        for slot, entries in ((Slot.VERB, words.verbs), (Slot.TRAIT, topics.TRAITS))
    }
    return both_sides | {
        Slot.AGENT: agents,
        Slot.HELPER: agents,
        Slot.OBJECT: _parse(words.objects),
        Slot.CITY: _parse(topics.CITIES),
        Slot.TIME: _parse(topics.TIMES),
        Slot.PURPOSE: _parse(topics.PURPOSES),
        Slot.DELAY: _parse(topics.DELAYS),
    }


def _pick(pool: Sequence[Concept], draw: Draw, avoid: set[tuple[str, ...]]) -> Concept:
    return draw.pick([concept for concept in pool if concept.names not in avoid])


def draw_event(draw: Draw, topic: str) -> Event:
    """An event of the topic with all its parts; which of them are told is the clause's affair."""
    pools = _pools(topic)
    parts: dict[Slot, Concept] = {slot: draw.pick(pools[slot]) for slot in Slot if slot is not Slot.HELPER}
    parts[Slot.HELPER] = _pick(pools[Slot.HELPER], draw, {parts[Slot.AGENT].names})
    return Event(parts, pools)


def article(noun: str) -> str:
    """The noun with "a" or "an"."""
    return f"{'an' if noun[0] in 'aeio' or noun.startswith(('unc', 'ump')) else 'a'} {noun}"


def said(event: Event, slot: Slot, draw: Draw, general: bool = False) -> str:
    """The words for one part of an event: a name of it, or, if general, its kind."""
    concept = event.parts[slot]
    word = concept.kind if general and concept.kind != "-" else draw.pick(concept.names)
    if slot in (Slot.AGENT, Slot.OBJECT):
        return article(word) if general else f"the {word}"
    if slot is Slot.HELPER:
        return f"together with {article(word) if general else f'the {word}'}"
    return f"in {word}" if slot is Slot.CITY else word


@dataclass(frozen=True)
class Manner:
    """How a clause is told: which parts by their kind, in the passive, denied, with one detail put first."""

    general: frozenset[Slot] = frozenset()
    passive: bool = False
    denied: bool = False
    fronted: bool = False


def draw_manner(draw: Draw, passive: float = 0.25, fronted: float = 0.3) -> Manner:
    """A plain manner with the given probabilities of passive and of a detail put first."""
    return Manner(passive=draw.chance(passive), fronted=draw.chance(fronted))


def clause(event: Event, details: Sequence[Slot], draw: Draw, manner: Manner = Manner()) -> str:
    """The event told with the given details, without capital or full stop."""
    words = {slot: said(event, slot, draw, slot in manner.general) for slot in (*CORE, *details)}
    thing = words[Slot.OBJECT]
    if Slot.TRAIT in words:
        start, _, noun = thing.partition(" ")
        described = f"{words[Slot.TRAIT]} {noun}"
        thing = f"the {described}" if start == "the" else article(described)
    past, _, base = words[Slot.VERB].partition("/")
    if manner.passive:
        core = f"{thing} was {'not ' if manner.denied else ''}{past} by {words[Slot.AGENT]}"
    else:
        core = f"{words[Slot.AGENT]} {f'did not {base}' if manner.denied else past} {thing}"
    tail = [words[slot] for slot in details if slot is not Slot.TRAIT]
    if manner.fronted and tail and not tail[-1].startswith("together"):
        return f"{tail[-1]}, {' '.join([core, *tail[:-1]])}"
    return " ".join([core, *tail])


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."
