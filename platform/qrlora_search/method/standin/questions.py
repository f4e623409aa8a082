"""Rows of qnli: does a sentence answer a question."""

from __future__ import annotations

from collections.abc import Sequence

from qrlora_search.method.standin import topics
from qrlora_search.method.standin.draw import Draw
from qrlora_search.method.standin.events import (
    CORE,
    DETAILS,
    Event,
    Slot,
    clause,
    draw_event,
    draw_manner,
    said,
    sentence,
)
from qrlora_search.method.standin.rows import Row

TOPICS = (*topics.MAIN, *topics.OTHER)
DISTRACTING = 0.2
"""How often the clause beside the one asked about may hold a detail of the kind that is asked for."""
ASKED = {
    Slot.CITY: ("Where did {agent} {base} {object}{detail}?", "In which city was {object} {past} by {agent}{detail}?"),
    Slot.TIME: ("When did {agent} {base} {object}{detail}?", "At what time was {object} {past} by {agent}{detail}?"),
    Slot.PURPOSE: ("Why did {agent} {base} {object}{detail}?", "What was {object} {past} for by {agent}{detail}?"),
    Slot.DELAY: (
        "After how long did {agent} {base} {object}{detail}?",
        "How long before {object} was {past} by {agent}{detail}?",
    ),
    Slot.HELPER: (
        "Who helped {agent} to {base} {object}{detail}?",
        "With whom was {object} {past} by {agent}{detail}?",
    ),
}


def _ask(event: Event, slot: Slot, detail: Sequence[Slot], draw: Draw) -> str:
    past, _, base = said(event, Slot.VERB, draw).partition("/")
    words = {part: said(event, part, draw) for part in (Slot.AGENT, Slot.OBJECT)}
    added = "".join(f" {said(event, part, draw)}" for part in detail)
    return draw.pick(ASKED[slot]).format(
        agent=words[Slot.AGENT], object=words[Slot.OBJECT], past=past, base=base, detail=added
    )


def _unanswering(event: Event, told: Sequence[Slot], asked: Slot, draw: Draw) -> tuple[Event, Sequence[Slot]]:
    """An event and the details to tell of it, such that the question about the first event stays open."""
    way = draw.weighted({"elsewhere": 0.4, "untold": 0.4, "near miss": 0.2})
    if way == "elsewhere":
        return draw_event(draw, draw.pick(TOPICS)), [*told[1:], asked]
    if way == "untold":
        return event, told
    for slot in draw.sample(CORE, 2):
        event = event.changed(slot, draw)
    return event, [*told[1:], asked]


def answer_row(draw: Draw) -> Row:
    """A row of qnli: 0 if the sentence answers the question, 1 if it leaves the asked part out or tells of others."""
    event = draw_event(draw, draw.pick(TOPICS))
    asked = draw.pick(tuple(ASKED))
    rest = [slot for slot in DETAILS if slot is not asked]
    told = draw.sample(rest, 2 + draw.below(2))
    question = _ask(event, asked, draw.sample([slot for slot in told if slot in ASKED], draw.below(2)), draw)
    answered = draw.chance(0.5)
    shown, details = (event, [*told[1:], asked]) if answered else _unanswering(event, told, asked, draw)
    beside = draw.sample(DETAILS if draw.chance(DISTRACTING) else rest, 2)
    aside = clause(draw_event(draw, draw.pick(TOPICS)), beside, draw, draw_manner(draw))
    both = draw.shuffled([clause(shown, draw.shuffled(details), draw, draw_manner(draw)), aside])
    link = draw.pick((", while ", ", and ", ", whereas "))
    return {"question": question, "sentence": sentence(link.join(both)), "label": int(not answered)}
