"""Rows of mrpc and stsb: do two sentences say the same, and how nearly."""

from __future__ import annotations

import math

from qrlora_search.method.standin import topics
from qrlora_search.method.standin.draw import Draw, listed
from qrlora_search.method.standin.events import CORE, DETAILS, Event, Slot, clause, draw_event, draw_manner, sentence
from qrlora_search.method.standin.rows import Row

TOPICS = (*topics.MAIN, *topics.OTHER)
SOURCES = listed(topics.SOURCES)
EQUIVALENT = 0.68
WORTH = {Slot.AGENT: 1.1, Slot.VERB: 1.3, Slot.OBJECT: 1.3, Slot.CITY: 0.7, Slot.TIME: 0.6}
"""What each part weighs in the similarity of two sentences, of the parts that are told."""
SCATTER = 0.7
"""Standard deviation of the judges' disagreement, in points of 0 to 5."""


def _news(event: Event, details: list[Slot], draw: Draw) -> str:
    text = clause(event, draw.shuffled(details), draw, draw_manner(draw))
    source = draw.pick(SOURCES)
    return sentence(
        f"{source} that {text}" if source.endswith(("ed", "id")) and draw.chance(0.5) else f"{text}, {source}"
    )


def paraphrase_row(draw: Draw) -> Row:
    """A row of mrpc: 1 if the second sentence tells the first one's event in other words, 0 if details differ."""
    event = draw_event(draw, draw.pick(TOPICS))
    details = draw.sample(DETAILS, 3 + draw.below(2))
    same = draw.chance(EQUIVALENT)
    second = event
    if not same:
        for slot in draw.sample((Slot.AGENT, Slot.VERB, Slot.OBJECT, *details), 1 + draw.below(3)):
            second = second.changed(slot, draw)
    return {"sentence1": _news(event, details, draw), "sentence2": _news(second, details, draw), "label": int(same)}


def _nearness(first: Event, second: Event, slot: Slot) -> float:
    one, two = first.parts[slot], second.parts[slot]
    if one.names == two.names:
        return 1.0
    return 0.4 if one.kind == two.kind else 0.0


def similarity_row(draw: Draw) -> Row:
    """A row of stsb: 0 for unrelated sentences to 5 for the same meaning, in steps of 0.2."""
    first = draw_event(draw, draw.pick(TOPICS))
    details = draw.sample((Slot.CITY, Slot.TIME), draw.below(3))
    told = (*CORE, *details)
    second = draw_event(draw, draw.pick(TOPICS)) if draw.chance(0.2) else first
    if second is first:
        for slot in draw.sample(told, draw.below(len(told) + 1)):
            second = second.changed(slot, draw)
    agreed = math.fsum(WORTH[slot] * _nearness(first, second, slot) for slot in told)
    near = agreed / math.fsum(WORTH[slot] for slot in told)
    score = min(5.0, max(0.0, 5 * near + SCATTER * draw.spread()))
    texts = [sentence(clause(event, details, draw, draw_manner(draw))) for event in (first, second)]
    return {"sentence1": texts[0], "sentence2": texts[1], "label": round(score * 5) / 5}
