"""Fault points, for tests alone: `QRLORA_FAULT="after:report:7"` kills this process when it passes that moment.

A moment is `before:WHAT` or `after:WHAT`; WHAT is a kind of event, a file's name without its digits, `mlflow-KIND`, or
`store-KIND` of the cache's artefacts. The number counts from 1. The kill is SIGKILL to this very process, so nothing is
cleaned up, as in a real one.
"""

import os
import signal
from collections import Counter

VARIABLE = "QRLORA_FAULT"
_PASSED: Counter[str] = Counter()


def passing(moment: str) -> None:
    """Says that a moment is passed; does nothing unless a test asked for a kill here."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    _PASSED[moment] += 1
    if f"{moment}:{_PASSED[moment]}" == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
