"""Rows of rte and mnli: does a text imply a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qrlora_search.method.standin import topics
from qrlora_search.method.standin.draw import Draw
from qrlora_search.method.standin.events import CORE, DETAILS, Event, Slot, clause, draw_event, draw_manner, sentence
from qrlora_search.method.standin.rows import Row

MATCHED = tuple(topics.MAIN)
MISMATCHED = tuple(topics.OTHER)
BOTH = (*MATCHED, *MISMATCHED)
ENTAILED, NEUTRAL, CONTRADICTED = 0, 1, 2
CORRECTING = 0.08
"""How often a sentence of mnli that follows is one that denies, so that a denial alone decides nothing."""
RTE_SENTENCES = {1: 0.3, 2: 0.3, 3: 0.2, 5: 0.15, 7: 0.05}
"""How many sentences a text of rte has, and how often: a few are long."""


def _implied(event: Event, told: Sequence[Slot], draw: Draw) -> str:
    """A sentence that follows: fewer details, other names, sometimes by kind."""
    details = draw.sample(told, draw.below(3))
    manner = draw_manner(draw)
    sortable = (*CORE, *details)
    general = frozenset(draw.sample(sortable, draw.below(3)))
    return clause(event, details, draw, replace(manner, general=general))


def _contradicted(event: Event, told: Sequence[Slot], draw: Draw) -> str:
    """A sentence that cannot be true as well: denied, or with the opposite verb, or at another place or time."""
    details = draw.sample(told, draw.below(3))
    manner = draw_manner(draw)
    movable = [slot for slot in (Slot.CITY, Slot.TIME) if slot in told]
    way = draw.weighted({"denied": 0.45, "opposite": 0.35, "other": 0.2})
    if way == "denied":
        return clause(event, details, draw, replace(manner, denied=True))
    if way == "other" and movable:
        slot = draw.pick(movable)
        return clause(event.changed(slot, draw), [slot], draw, manner)
    return clause(event.with_part(Slot.VERB, event.parts[Slot.VERB].flipped()), details, draw, manner)


def _open(event: Event, told: Sequence[Slot], draw: Draw) -> str:
    """A sentence that may be true or not: it adds details that the text does not tell."""
    untold = [slot for slot in DETAILS if slot not in told]
    details = [*draw.sample(told, draw.below(2)), *draw.sample(untold, 1 + draw.below(2))]
    general = frozenset(draw.sample(CORE, draw.below(2)))
    return clause(event, details, draw, replace(draw_manner(draw), general=general))


def _correction(event: Event, told: Sequence[Slot], draw: Draw) -> str:
    """A sentence that follows although it denies: it denies a detail other than the one told."""
    slot = draw.pick(told)
    return clause(event.changed(slot, draw), [slot], draw, replace(draw_manner(draw), denied=True))


def _foreign(_event: Event, _told: Sequence[Slot], draw: Draw) -> str:
    """A sentence about something else."""
    other = draw_event(draw, draw.pick(BOTH))
    return clause(other, draw.sample(DETAILS, 1 + draw.below(2)), draw, draw_manner(draw))


def _three_way(draw: Draw, names: Sequence[str]) -> Row:
    event = draw_event(draw, draw.pick(names))
    told = draw.sample(DETAILS, 2 + draw.below(3))
    label = draw.below(3)
    entailed = _correction if draw.chance(CORRECTING) else _implied
    hypothesis = {ENTAILED: entailed, NEUTRAL: _open, CONTRADICTED: _contradicted}[label](event, told, draw)
    premise = clause(event, told, draw, draw_manner(draw))
    return {"premise": sentence(premise), "hypothesis": sentence(hypothesis), "label": label}


def matched_row(draw: Draw) -> Row:
    """A row of mnli on the topics of train: 0 entailed, 1 open, 2 contradicted."""
    return _three_way(draw, MATCHED)


def mismatched_row(draw: Draw) -> Row:
    """A row of mnli on topics that train never shows."""
    return _three_way(draw, MISMATCHED)


def entailment_row(draw: Draw) -> Row:
    """A row of rte: a text of one to seven sentences, 0 if the second text follows from it, 1 if it does not."""
    event = draw_event(draw, draw.pick(BOTH))
    told = draw.sample(DETAILS, 2 + draw.below(2))
    entailed = draw.chance(0.5)
    tell = _implied if entailed else draw.weighted({_contradicted: 0.45, _foreign: 0.35, _open: 0.2})
    hypothesis = tell(event, told, draw)
    aside = [draw_event(draw, draw.pick(BOTH)) for _ in range(draw.weighted(RTE_SENTENCES) - 1)]
    text = [clause(event, told, draw, draw_manner(draw))]
    text += [clause(other, draw.sample(DETAILS, 2), draw, draw_manner(draw)) for other in aside]
    whole = " ".join(map(sentence, draw.shuffled(text)))
    return {"sentence1": whole, "sentence2": sentence(hypothesis), "label": int(not entailed)}
