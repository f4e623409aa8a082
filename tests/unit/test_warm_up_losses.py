"""A warm-up whose worker is lost begins again; one that fails by itself is an error with its cause. It never hangs."""

import queue

import numpy as np
import pytest
import ray
from ray.train import ControllerError, WorkerGroupError

from qrlora_search.adapters.ray_engine import warm_up
from qrlora_search.adapters.ray_engine.warm_up import RayWarmUp, WorkerLostError, _follow
from qrlora_search.values.errors import UserError


class WorkerHealthCheckFailedError(Exception):
    """What Ray Train calls a worker that died, by its name."""


class Mail(queue.Queue):
    """A mailbox without Ray."""

    def get(self, timeout):
        return super().get(timeout=timeout)

    def shutdown(self, force):
        pass


def raising(error: BaseException | None):
    def train():
        if error is not None:
            raise error

    return train


DIED = WorkerHealthCheckFailedError("a worker's health check failed")


@pytest.mark.parametrize(
    "error",
    [
        WorkerGroupError("[Rank 0]", {0: DIED}),
        ControllerError(ray.exceptions.NodeDiedError("gone")),
        ray.exceptions.RayActorError(),
        None,
    ],
)
def test_a_lost_worker_is_told_from_an_error(error):
    with pytest.raises(WorkerLostError):
        _follow(raising(error), Mail(), print)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (WorkerGroupError("[Rank 0]", {0: ValueError("first\nno such label")}), "the warm-up failed: no such label; "),
        (WorkerGroupError("two", {0: DIED, 1: MemoryError("no room")}), "the warm-up failed: "),
        (ControllerError(ValueError("resources")), "the warm-up failed: resources; "),
        (RuntimeError("out of memory"), "out of memory"),
    ],
)
def test_an_error_of_the_training_is_the_users_to_mend(error, words):
    with pytest.raises(UserError) as raised:
        _follow(raising(error), Mail(), print)
    assert words in str(raised.value)


class Once(RayWarmUp):
    """A warm-up that loses its worker so many times."""

    def __init__(self, losses: int) -> None:
        super().__init__(1, use_gpu=False)
        self.losses, self.tries = losses, 0

    def _once(self, job, told):
        self.tries += 1
        if self.tries <= self.losses:
            raise WorkerLostError("its worker or node was lost")
        return {"weight": np.zeros(1)}


def test_it_begins_again_three_times_and_says_so():
    said = []
    runner = Once(warm_up.RETRIES)
    assert list(runner(None, said.append)) == ["weight"]
    assert said[0] == "warm-up: its worker or node was lost; it begins again (1 of 3)"
    worse = Once(warm_up.RETRIES + 1)
    with pytest.raises(UserError, match="the warm-up failed: its worker or node was lost"):
        worse(None, said.append)
    assert worse.tries == 4
