"""Rows of qqp: are two questions one."""

from __future__ import annotations

from dataclasses import dataclass

from qrlora_search.method.standin.draw import Draw, listed
from qrlora_search.method.standin.rows import Row

DUPLICATE = 0.37
COMPARING = 0.3
"""The share of questions that compare two things: there the order counts, which is harder."""


@dataclass(frozen=True)
class _Subject:
    """What one kind of question is about, as entries that semicolons separate and a bar splits into wordings.

    The things; what to ask of one; the circumstances; pairs of opposite comparatives; how a thing is called.
    """

    things: str
    wishes: str
    circumstances: str
    degrees: str
    name: str = "{x}"

    def wordings(self, entries: str) -> list[tuple[str, ...]]:
        """Each entry's wordings, all of one meaning."""
        return [tuple(wording.strip() for wording in entry.split("|")) for entry in listed(entries)]


SUBJECTS = (
    _Subject(
        "the guitar; chess; Italian; Japanese; swimming; juggling; calligraphy; algebra; typing; pottery; archery;"
        "Latin; sailing; knitting; origami; the flute; skiing; photography",
        "How can I learn {x}{c}?|What is the best way to learn {x}{c}?;"
        "How long does it take to master {x}{c}?|How much time do I need to become good at {x}{c}?;"
        "Is it worth studying {x}{c}?|Should I bother to take up {x}{c}?;"
        "Who is a good teacher of {x}{c}?|Which instructor do you recommend for {x}{c}?;"
        "Why is {x} so hard to learn{c}?|What makes {x} so difficult{c}?;"
        "What does a course in {x} cost{c}?|How expensive are lessons in {x}{c}?",
        "as an adult|when you are grown up; without any talent|if you are not gifted;"
        "in a single year|within twelve months; on your own|without a teacher;"
        "with a busy job|while working full time; -",
        "harder to learn|easier to learn; more popular|less popular; dearer to study|cheaper to study",
    ),
    _Subject(
        "Lisbon; Kyoto; Cairo; Oslo; Havana; Naples; Dublin; Quito; Tunis; Vienna; Prague; Bergen; Lima; Porto;"
        "Athens; Zagreb; Bogota; Riga",
        "What should I see in {x}{c}?|Which sights in {x} are worth a visit{c}?;"
        "How do I get from the airport to {x}{c}?|What is the easiest way into {x} from the airport{c}?;"
        "Is {x} safe for tourists{c}?|Do visitors run any risk in {x}{c}?;"
        "Where can I eat well in {x}{c}?|What are good restaurants in {x}{c}?;"
        "What is the weather like in {x}{c}?|Is it warm or cold in {x}{c}?;"
        "How much does it cost to live in {x}{c}?|How high are living expenses in {x}{c}?",
        "in the winter|during the cold months; with small children|when travelling with kids;"
        "on a small budget|if I have little money; at the weekend|on Saturday and Sunday;"
        "late at night|after midnight; -",
        "warmer|colder; cheaper|more expensive; safer|more dangerous",
    ),
    _Subject(
        "a cold; migraine; back pain; insomnia; hay fever; a sprained ankle; asthma; a sore throat; toothache;"
        "eczema; heartburn; sunburn; a cough; knee pain; dizziness; hiccups; acne; anaemia",
        "How do I get rid of {x}{c}?|What is a good cure for {x}{c}?;"
        "What causes {x}{c}?|Why do people get {x}{c}?;"
        "How can I prevent {x}{c}?|What protects against {x}{c}?;"
        "Is {x} dangerous{c}?|Should I be worried about {x}{c}?;"
        "What should I eat with {x}{c}?|Which food is good for {x}{c}?;"
        "Can I still do sport with {x}{c}?|Is it all right to exercise with {x}{c}?",
        "during pregnancy|when expecting a baby; in old age|as an elderly person;"
        "without a doctor|if I cannot see a physician; while on holiday|during a vacation;"
        "in the summer|in hot weather; -",
        "more painful|less painful; more common|rarer; harder to cure|easier to cure",
    ),
    _Subject(
        "laptop; washing machine; phone; printer; bicycle; camera; fridge; drill; lawnmower; television; heater;"
        "kettle; scooter; router; watch; toaster; microwave; sewing machine",
        "Which {x} should I buy{c}?|What is the best {x} you can get{c}?;"
        "How do I repair a broken {x}{c}?|What can I do if my {x} no longer works{c}?;"
        "Where can I sell my old {x}{c}?|Who buys a used {x}{c}?;"
        "How do I clean a {x}{c}?|What is the best way to get dirt off a {x}{c}?;"
        "How long does a {x} last{c}?|After how many years does a {x} wear out{c}?;"
        "How much should I pay for a {x}{c}?|What is a fair price for a {x}{c}?",
        "for a student|for someone at university; in a small flat|if I have little room;"
        "without any tools|with bare hands; on a tight budget|for less than a hundred euros;"
        "in a hurry|as fast as possible; -",
        "cheaper|more expensive; louder|quieter; easier to repair|harder to repair",
        name="a {x}",
    ),
)


def _circumstance(wordings: tuple[str, ...], draw: Draw) -> str:
    word = draw.pick(wordings)
    return "" if word == "-" else f" {word}"


def _plain(subject: _Subject, duplicate: bool, draw: Draw) -> tuple[str, str]:
    """Two questions about one thing; unless duplicate the wish, the thing or the circumstance differs."""
    thing, other = draw.sample(listed(subject.things), 2)
    wish, other_wish = draw.sample(subject.wordings(subject.wishes), 2)
    when, other_when = draw.sample(subject.wordings(subject.circumstances), 2)
    wordings = draw.sample(wish, 2)
    first = wordings[0].format(x=thing, c=_circumstance(when, draw))
    second = wordings[1]
    if not duplicate:
        change = draw.weighted({"wish": 0.4, "thing": 0.3, "circumstance": 0.3})
        second = draw.pick(other_wish if change == "wish" else wish)
        thing = other if change == "thing" else thing
        when = other_when if change == "circumstance" else when
    return first, second.format(x=thing, c=_circumstance(when, draw))


def _comparing(subject: _Subject, duplicate: bool, draw: Draw) -> tuple[str, str]:
    """Two questions which of two things is more so; unless duplicate either the order or the comparative is turned."""
    one, two = (subject.name.format(x=thing) for thing in draw.sample(listed(subject.things), 2))
    more, less = draw.shuffled(draw.pick(subject.wordings(subject.degrees)))
    when = draw.pick(subject.wordings(subject.circumstances))
    degree_turned = draw.chance(0.25)
    order_turned = degree_turned == duplicate
    second = (less if degree_turned else more, *((two, one) if order_turned else (one, two)))
    starts = draw.sample(("Is it true that {a} is {d} than {b}{c}?", "Is {a} really {d} than {b}{c}?"), 2)
    texts = [
        start.format(a=left, b=right, d=degree, c=_circumstance(when, draw))
        for start, (degree, left, right) in zip(starts, ((more, one, two), second), strict=True)
    ]
    return texts[0], texts[1]


def duplicate_row(draw: Draw) -> Row:
    """A row of qqp: 1 if both questions ask the same, 0 if they only look alike."""
    duplicate = draw.chance(DUPLICATE)
    make = _comparing if draw.chance(COMPARING) else _plain
    first, second = make(draw.pick(SUBJECTS), duplicate, draw)
    return {"question1": first, "question2": second, "label": int(duplicate)}
