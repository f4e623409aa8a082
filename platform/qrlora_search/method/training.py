"""One trial: train the coefficients (and the head, where it trains) an epoch at a time, and score each epoch."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from qrlora_search.describe.configuration import Configuration
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.method.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from qrlora_search.method.encoder import Adapters, Head
from qrlora_search.method.metrics import compute_metrics
from qrlora_search.method.tokens import Integers, training_batches
from qrlora_search.method.trained import make_trained
from qrlora_search.method.workbench import Workbench, loss_of
from qrlora_search.values.packing import pack
from qrlora_search.values.states import Report

HEAD_PARTS = ("dense.weight", "dense.bias", "output.weight", "output.bias")


class TrialFailedError(Exception):
    """A trial that cannot go on for a reason of its own configuration, such as a loss that is not finite."""


@contextmanager
def out_of_memory_told() -> Iterator[None]:
    """Turns a want of memory into a TrialFailedError that says whose memory it was: a trial is too large for it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise TrialFailedError(f"out of memory on the accelerator: {_first_line(error)}") from error
    except MemoryError as error:
        raise TrialFailedError(f"out of memory in the worker's process: {_first_line(error)}") from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise TrialFailedError(f"out of memory in the worker's process: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no more is known"])[0]


def lowest_of(bench: Workbench, configuration: Configuration) -> int:
    """Returns the lowest layer that is run for a configuration: the last one where it adapts nothing."""
    return bench.depth - 1 if configuration.lowest_layer is None else configuration.lowest_layer


class TrialTrainer:
    """Trains one configuration on a workbench, `step` by `step`; the same order gives the same numbers, also where it
    goes on from a checkpoint.
    """

    def __init__(self, bench: Workbench, order: TrialOrder) -> None:
        self.order, self.epoch = order, 0
        configuration = order.configuration
        earlier = read_checkpoint(order, bench.device)
        self.lowest = lowest_of(bench, configuration)
        self.trained = make_trained(bench, configuration, order.seed, None if earlier is None else earlier.trained)
        self.bench = self.trained.bench
        self.head = bench.head
        adapter = self.trained.parameters()
        groups = [{"params": adapter, "lr": configuration.learning_rate}] if adapter else []
        if configuration.head == "trained":
            parts = [part.clone().requires_grad_() for part in (*bench.head.dense, *bench.head.output)]
            self.head = Head((parts[0], parts[1]), (parts[2], parts[3]))
            groups.append({"params": parts, "lr": configuration.head_learning_rate})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
        steps = math.ceil(len(bench.splits["train"]) / configuration.batch_size) * configuration.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: max(0.0, 1.0 - step / steps))
        if earlier is not None:
            self._go_on(earlier)

    def _go_on(self, earlier: Checkpoint) -> None:
        """Takes up what the trained part does not hold: epoch, head, optimiser and schedule."""
        self.epoch = earlier.epoch
        with torch.no_grad():
            for name, part in self._head_tensors().items():
                part.copy_(earlier.trained[name])
        self.optimizer.load_state_dict(earlier.optimizer)
        self.schedule.load_state_dict(earlier.schedule)

    def _head_tensors(self) -> dict[str, Tensor]:
        """Returns the head's tensors by the names that they are kept under, where the head trains."""
        if self.order.configuration.head != "trained":
            return {}
        parts = (*self.head.dense, *self.head.output)
        return {f"head.{name}": part for name, part in zip(HEAD_PARTS, parts, strict=True)}

    def step(self) -> Report:
        """Trains one epoch, scores it on the selection split and returns the report, with a checkpoint in it."""
        started = time.perf_counter()
        self.bench.hold(self.lowest)
        states_s = time.perf_counter() - started
        self.epoch += 1
        configuration = self.order.configuration
        torch.manual_seed(self.order.seed * 1000 + self.epoch)
        for batch in training_batches(
            self.bench.splits["train"], configuration.batch_size, self.order.seed, self.epoch
        ):
            self.train_on(batch)
        if not all(bool(torch.isfinite(one).all()) for one in self.trained.parameters()):
            raise TrialFailedError(f"diverged: coefficients are not finite after epoch {self.epoch}")
        trained_s = time.perf_counter() - started
        report = self._score()
        seconds = time.perf_counter() - started
        report = replace(report, seconds=seconds, states_s=states_s, scoring_s=seconds - trained_s)
        return replace(report, checkpoint=self._checkpoint(report))

    def _checkpoint(self, report: Report) -> bytes:
        """Returns what the next epoch goes on from; nothing after the last one."""
        if self.epoch >= self.order.configuration.epochs:
            return b""
        trained = {**self.trained.tensors(), **self._head_tensors()}
        return write_checkpoint(self.order, report, trained, self.optimizer.state_dict(), self.schedule.state_dict())

    def train_on(self, batch: Integers) -> Tensor:
        """Takes one step on a batch and returns its loss."""
        dropout = self.order.configuration.dropout
        entering = self.bench.entering("train", self.lowest, batch)
        first = self.bench.encoder.run(entering, self.trained.adapters(), self.lowest, dropout=dropout)
        logits = self.head(first, dropout, before_dense=self.bench.encoder.family == "roberta")
        labels = torch.from_numpy(self.bench.splits["train"].labels_N[batch])
        loss = loss_of(self.bench.task, logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def _score(self) -> Report:
        task, labels = self.bench.task, self.bench.splits["selection"].labels_N
        predictions, loss = self.bench.predict("selection", self.trained.adapters(), self.head, self.lowest)
        if not math.isfinite(loss):
            raise TrialFailedError(f"diverged: held-out loss is {loss} after epoch {self.epoch}")
        metrics = compute_metrics(task, labels, predictions)
        return Report(
            epoch=self.epoch,
            score=metrics[task.objective],
            loss=loss,
            seconds=0.0,
            packed=pack(predictions if task.regression else predictions.astype(np.int64)),
            metrics=metrics,
            weights=self._weights(),
        )

    def _weights(self) -> bytes:
        """Returns what the trial has trained; a whole encoder only when it is done."""
        if self.order.configuration.whole and self.epoch < self.order.configuration.epochs:
            return b""
        tensors = {**self.trained.tensors(), **self._head_tensors()}
        return save_tensors({name: one.detach().cpu() for name, one in tensors.items()})


@dataclass(frozen=True)
class Restored:
    """A trained trial ready to predict: what its workbench needs besides the split."""

    bench: Workbench
    adapters: Adapters
    head: Head
    lowest: int

    def logits(self, split: str) -> NDArray[np.float32]:
        """Returns logits (N, outputs) on a split, float32."""
        return self.bench.logits(split, self.adapters, self.head, self.lowest)


def restore(bench: Workbench, order: TrialOrder | None, weights: bytes) -> Restored:
    """Returns a trained trial from what it kept; order None is the control, without adapter."""
    if order is None:
        return Restored(bench, {}, bench.head, bench.depth - 1)
    tensors = {name: tensor.to(bench.device) for name, tensor in load_tensors(weights).items()}
    trained = make_trained(bench, order.configuration, order.seed, tensors)
    head = bench.head
    if "head.dense.weight" in tensors:
        parts = [tensors[f"head.{name}"] for name in HEAD_PARTS]
        head = Head((parts[0], parts[1]), (parts[2], parts[3]))
    return Restored(trained.bench, trained.adapters(), head, lowest_of(bench, order.configuration))


def predict_with(
    bench: Workbench, order: TrialOrder | None, weights: bytes, split: str
) -> tuple[NDArray[np.float64], float]:
    """Returns predictions and mean loss of a trained trial on a split; order None is the control, without adapter."""
    one = restore(bench, order, weights)
    return one.bench.predict(split, one.adapters, one.head, one.lowest)
