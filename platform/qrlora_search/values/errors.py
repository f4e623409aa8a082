"""Errors that a person can mend."""

from collections.abc import Iterable
from difflib import get_close_matches

AWAY = 5
"""Exit code where a place that is needed does not answer, or a disk is full; the same command goes on."""
GOES_ON = "the same command goes on, with --resume if it says so"


class UserError(Exception):
    """Bad input: the message names the value, what is wrong with it and the remedy.

    The command line prints the message without a traceback and exits with 2.
    """


class AwayError(UserError):
    """A place that is needed does not answer now: a Ray cluster, or a database. Nothing is wrong with what was asked.

    A sweep stays open then and exits with a code of its own, so that a scheduler asks again.
    """


class SinkError(Exception):
    """A sink could not store an event now: the store is away, or full. It is offered the event again."""


class AnewError(SinkError):
    """A sink could not store an event and cannot say whether it did: it is made anew, and offered all events again."""


def nearest(value: str, known: Iterable[str]) -> str:
    """Returns `did you mean 'x'? ` for the nearest known name, or an empty text; for error messages."""
    matches = get_close_matches(value, list(known), n=1, cutoff=0.5)
    return f"did you mean '{matches[0]}'? " if matches else ""


class RefusedError(UserError):
    """A place answers and lets nobody in: asking again is of no use before somebody has mended it."""
