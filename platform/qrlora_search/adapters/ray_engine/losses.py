"""Why a trial of Ray Tune ended with an error: the trial's own, or a worker, a process or a node that was lost.

Told from Ray's words: Tune keeps them as text beside a pickle, which is not read.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ray.tune.experiment import Trial

_LOW_MEMORY = ("low on memory", "memory pressure", "memory monitor", "outofmemoryerror")
_LOST_NODE = ("node has died", "node died", "its node", "node was terminated", "died on node")
_SET_UP = "error raised in its creation task"


@dataclass(frozen=True)
class Ending:
    """lost: the worker was lost, for which no configuration is to blame. reason: in words. unfit: the id of a node that
    no trial can run on.
    """

    lost: bool
    reason: str
    unfit: str = ""


def how_it_ended(trial: Trial) -> Ending:
    """Returns why a trial failed."""
    file = trial.error_file
    text = Path(file).read_text(encoding="utf-8", errors="replace") if file and Path(file).is_file() else ""
    return ending_of(text)


def ending_of(text: str) -> Ending:
    """Returns what Ray's words say: a traceback of the worker is the trial's own error, unless Ray raised it there."""
    lines = text.strip().splitlines() or [""]
    last = lines[-1].strip()
    unfit = re.search(r"UnfitNodeError: (\w+) (.+)", last)
    if unfit is not None:
        return Ending(True, unfit[2], unfit[1])
    if _SET_UP in text:
        return Ending(False, f"its worker could not be set up: {last}")
    if "Traceback (most recent call last)" not in text and "ray::" not in text:
        return Ending(True, lost_in_words(text))
    if last.startswith("ray.exceptions."):  # such as an object that went with its node
        return Ending(True, f"what the worker needed was lost: {last}")
    return Ending(False, last)


def lost_in_words(text: str) -> str:
    """Returns what is known of a lost worker from Ray's own words, which name every cause there could be."""
    lowered = text.lower()
    if any(words in lowered for words in _LOW_MEMORY):
        return "out of memory: the node ran low on it and Ray ended the worker"
    if any(words in lowered for words in _LOST_NODE):
        return "its node was lost"
    return "its process died (killed, crashed, or ended by the system for want of memory)"
