"""Why a trial of Ray Tune ended with an error: the trial's own, or a worker, a process or a node that was lost."""

from dataclasses import dataclass

from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.experiment import Trial

_LOW_MEMORY = ("low on memory", "memory pressure", "memory monitor", "outofmemoryerror")
_LOST_NODE = ("node has died", "node died", "its node", "node was terminated", "died on node")


@dataclass(frozen=True)
class Ending:
    """lost: the worker was lost, for which no configuration is to blame. reason: in words."""

    lost: bool
    reason: str


def how_it_ended(trial: Trial) -> Ending:
    """Returns why a trial failed."""
    error = trial.get_pickled_error()
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, RayError):  # such as an object that went with its node
            return Ending(True, f"what the worker needed was lost: {_first_line(str(cause))}")
        return Ending(False, f"{type(cause).__name__}: {_first_line(str(cause))}")
    text = str(error if error is not None else trial.get_error())
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return Ending(False, f"its worker could not be set up: {text.strip().splitlines()[-1]}")
    return Ending(True, lost_in_words(text))


def lost_in_words(text: str) -> str:
    """Returns what is known of a lost worker from Ray's own words, which name every cause there could be."""
    lowered = text.lower()
    if any(words in lowered for words in _LOW_MEMORY):
        return "out of memory: the node ran low on it and Ray ended the worker"
    if any(words in lowered for words in _LOST_NODE):
        return "its node was lost"
    return "its process died (killed, crashed, or ended by the system for want of memory)"


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no more is known"])[0]
