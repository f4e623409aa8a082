"""Warm-up fine-tuning through Ray Train: any number of workers, gradients averaged by torch's DDP."""

import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import RunConfig, ScalingConfig, TrainingFailedError
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer, get_device, prepare_model
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from qrlora_search.adapters.ray_engine.cluster import using_ray
from qrlora_search.method.fine_tuning import Share, WarmUpJob, build_classifier, export_state, fine_tune
from qrlora_search.prepare.preparation import State, Told
from qrlora_search.values.errors import UserError


def _work(config: dict[str, Any]) -> None:
    """One Train worker: fine-tunes its share; the first one sends progress and, in the end, the weights."""
    job: WarmUpJob = ray.get(config["job"][0])
    told: Queue = config["told"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    if rank == 0:
        told.put(("worker", ray.get_runtime_context().current_actor))
    torch.set_num_threads(max(1, int(config["threads"])))
    torch.manual_seed(job.seed)
    model = build_classifier(job.config, job.weights, job.task.outputs)
    torch.manual_seed(job.seed * workers + rank + 1)
    if config["meet"]:
        _meet(config["meet"], config["backend"], rank, workers)
    model = prepare_model(model) if workers > 1 else model.to(get_device())

    def tell(epoch: int, loss: float) -> None:
        if rank == 0:
            told.put(("progress", f"warm-up epoch {epoch} of {job.settings.epochs}, training loss {loss:.4f}"))

    fine_tune(model, job, get_device(), Share(rank, workers), tell)
    if config["meet"]:
        dist.destroy_process_group()
    if rank == 0:
        told.put(("state", ray.put(export_state(model))))
        told.put(("done", None))
        _wait_until_taken(told)


def _meet(file: str, backend: str, rank: int, workers: int) -> None:
    """Makes the process group of workers that are all on this machine: they find one another by a file, and listen on
    its loopback interface alone.
    """
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo" if sys.platform == "linux" else "lo0")
    dist.init_process_group(backend, init_method=f"file://{file}", rank=rank, world_size=workers)


def _wait_until_taken(told: Queue) -> None:
    """The weights belong to this worker: it may not leave before the driver has them."""
    while not told.empty():
        time.sleep(0.05)


END_S = 30.0
"""An interrupted warm-up that has not even begun to train is waited for so long."""
RETRIES = 3
"""How often a warm-up begins again whose worker or node was lost."""
_LOST = {"WorkerHealthCheckFailedError", "WorkerHealthCheckTimeoutError", "WorkerGroupStartupFailedError",
         "ActorDiedError", "ActorUnavailableError", "RayActorError", "NodeDiedError", "OwnerDiedError",
         "ObjectLostError", "WorkerCrashedError", "OutOfMemoryError", "PreemptionError"}  # fmt: skip
"""What Ray calls the loss of a process or a node. Everything else is the training's own error."""


class WorkerLostError(Exception):
    """A worker of the warm-up, or its node, was lost: nothing says that it would be lost again."""


class _NoGroup(Backend):
    """Leaves torch's process group out."""

    share_cuda_visible_devices = True


class _Unmet(TorchConfig):
    """What workers train with that need no meeting place: one has none to meet, and those of one machine meet by a
    file. At torch's own meeting place it listens on all addresses.
    """

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend's class."""
        return _NoGroup


class RayWarmUp:
    """A `WarmUpRunner` on a running Ray cluster. here: all of it is on this machine."""

    def __init__(
        self, threads: int, use_gpu: bool, labels: Mapping[str, str] | None = None, *, here: bool = False
    ) -> None:
        self.threads, self.use_gpu, self.labels, self.here = threads, use_gpu, dict(labels or {}), here

    @property
    def backend(self) -> str:
        """What workers speak to one another with."""
        return "nccl" if self.use_gpu else "gloo"

    def __call__(self, job: WarmUpJob, told: Told) -> State:
        """Returns the warmed-up weights. A lost worker's training begins again, up to 3 times: seeded, it is the same.
        Raises UserError with the cause where it fails.
        """
        for again in range(1, RETRIES + 1):
            try:
                return self._once(job, told)
            except WorkerLostError as lost:
                told(f"warm-up: {lost}; it begins again ({again} of {RETRIES})")
        try:
            return self._once(job, told)
        except WorkerLostError as lost:
            raise _failed(str(lost)) from None

    def _once(self, job: WarmUpJob, told: Told) -> State:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        mail = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        config = {"job": [ray.put(job)], "told": mail, "threads": self.threads, "backend": self.backend}
        many = job.settings.workers > 1
        torch_config = TorchConfig if many and not self.here else _Unmet

        def train() -> None:
            with tempfile.TemporaryDirectory(prefix="qrlora-train-", ignore_cleanup_errors=True) as folder:
                meet = f"{folder}/meet" if many and self.here else ""
                TorchTrainer(
                    _work,
                    train_loop_config={**config, "meet": meet},
                    torch_config=torch_config(backend=self.backend),
                    scaling_config=ScalingConfig(
                        num_workers=job.settings.workers,
                        use_gpu=self.use_gpu,
                        label_selector=self.labels or None,  # type: ignore[call-arg]  # Train V2's own has it
                        resources_per_worker={"CPU": self.threads, **({"GPU": 1} if self.use_gpu else {})},
                    ),
                    run_config=RunConfig(storage_path=folder, name="warm-up"),
                ).fit()

        return _follow(train, mail, told)


def _failed(cause: str) -> UserError:
    return UserError(f"the warm-up failed: {cause}; where memory ran out, lower [warm_up] batch_size in the space")


def _causes(error: BaseException) -> list[BaseException]:
    """Returns what is behind Ray Train's errors: those of its workers, or of its controller."""
    behind = [*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", None)]
    return [one for one in behind if one is not None] or [error]


def _follow(train: Callable[[], None], mail: Queue, told: Told) -> State:
    """Runs the trainer in a thread and passes on what its first worker says, until it has sent everything.

    The thread is left to itself then, until Ray is left: without a dashboard Ray Train's controller takes 12 s to end
    after its workers.
    The mailbox stays until it ends, since the first worker looks into it before it leaves. Raises WorkerLostError, or
    UserError with the cause.
    """
    failure: list[BaseException] = []
    ended, taken = threading.Event(), threading.Event()

    def fit() -> None:
        try:
            train()
        except (TrainingFailedError, ray.exceptions.RayError, RuntimeError, OSError, ValueError) as error:
            failure.append(error)
        finally:
            ended.set()
        taken.wait()
        if ray.is_initialized():
            mail.shutdown(force=True)

    thread = threading.Thread(target=fit, daemon=True)
    using_ray.append(thread)
    thread.start()
    workers: list[Any] = []
    try:
        state = _read(mail, ended, told, workers)
    except KeyboardInterrupt:
        _end(mail, ended, workers)
        raise
    except ray.exceptions.RayError as error:  # the weights went with their worker
        raise WorkerLostError(f"what its worker had made was lost ({type(error).__name__})") from None
    finally:
        taken.set()
    if state is None:
        causes = _causes(failure[0]) if failure else []
        if all(type(one).__name__ in _LOST for one in causes):
            raise WorkerLostError("its worker or node was lost")
        lines = str(causes[0]).strip().splitlines()
        raise _failed(lines[-1] if lines else type(causes[0]).__name__)
    return state


def _end(mail: Queue, ended: threading.Event, workers: list[Any]) -> None:
    """Ends the trainer by killing its first worker, as soon as there is one. Left alone it would find Ray gone."""
    until = time.monotonic() + END_S
    while not ended.is_set() and time.monotonic() < until:
        for one in workers:
            ray.kill(one)
        with suppress(Empty, queue.Empty):
            kind, content = mail.get(timeout=0.2)
            workers += [content] if kind == "worker" else []


def _read(mail: Queue, ended: threading.Event, told: Told, workers: list[Any]) -> State | None:
    """Passes on what the first worker says and returns its weights, or None where the trainer ended without. workers:
    gets the first one's handle.
    """
    state: State | None = None
    kind, content = "", None
    while kind != "done" and (not ended.is_set() or not mail.empty()):
        try:
            kind, content = mail.get(timeout=0.2)
        except (Empty, queue.Empty):
            continue
        if kind == "worker":
            workers.append(content)
        elif kind == "progress":
            told(str(content))
        elif kind == "state":
            state = {name: array.copy() for name, array in ray.get(content).items()}
    return state
