"""The sides of the trial-epoch benchmark, as processes that train one epoch when they are told to.

Ours is the engine's own trial. The baselines are transformers' `Trainer` with a LoRA of PEFT on the same matrices.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

PADDED_TO = 128
LORA_RANK = 2
EVAL_BATCH = 64
BATCH = 32
LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class Case:
    """What is trained. layers: the adapted ones. shape: `given`, or `roberta-base` for its size with random weights."""

    task: str
    data: str
    model: str
    rows: int
    layers: tuple[int, ...]
    cache: str
    matrices: tuple[str, ...] = ("q", "v")
    tau: float = 0.5
    shape: str = "given"
    precision: str = "float32"


@dataclass(frozen=True)
class Prepared:
    """The texts and the model, the same for every side."""

    case: Case
    folder: Path
    config: dict[str, Any]
    frames: dict[str, Any]
    stand_in: bool


def prepare(case: Case) -> Prepared:
    """Load the rows and find the model; at most `rows` of train, the whole validation set."""
    from qrlora_search.describe.tasks import find_task
    from qrlora_search.method.families import read_config
    from qrlora_search.method.sources import find_data, find_model, go_offline

    task = find_task(case.task)
    model, rows = find_model(case.model), find_data(case.data, task)
    go_offline()
    folder = Path(model.path)
    config = read_config(folder)
    if case.shape == "roberta-base":
        config |= {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    validation = next(name for name in rows.splits if name.startswith("validation"))
    frames = {"train": rows.splits["train"].head(case.rows), "selection": rows.splits[validation]}
    return Prepared(case, folder, config, frames, rows.source.kind == "stand-in")


def classifier(prepared: Prepared, outputs: int) -> Any:
    """Return transformers' classifier: the folder's weights, or random ones where the shape is another."""
    import torch

    from qrlora_search.method.fine_tuning import build_classifier, read_weights

    torch.manual_seed(0)
    if prepared.case.shape == "given":
        return build_classifier(prepared.config, read_weights(prepared.folder), outputs)
    from transformers import AutoConfig, AutoModelForSequenceClassification

    settings = AutoConfig.for_model(**{**prepared.config, "num_labels": outputs})
    return AutoModelForSequenceClassification.from_config(settings)


class Ours:
    """The engine: one trial on constant states, an epoch a step."""

    def __init__(self, prepared: Prepared) -> None:
        from qrlora_search.describe.space import States
        from qrlora_search.describe.tasks import find_task
        from qrlora_search.method.bases import pivoted_qr
        from qrlora_search.method.families import projection_name
        from qrlora_search.method.fine_tuning import export_state
        from qrlora_search.method.tokens import tokenize
        from qrlora_search.method.workbench import Materials, build_workbench
        from qrlora_search.prepare.states import MappedStates
        from qrlora_search.prepare.store import Store

        case, task = prepared.case, find_task(prepared.case.task)
        state = export_state(classifier(prepared, task.outputs))
        family = str(prepared.config["model_type"])
        bases = {
            (layer, matrix): pivoted_qr(state[projection_name(family, layer, matrix) + ".weight"])
            for layer in case.layers
            for matrix in case.matrices
        }
        splits = {
            name: tokenize(
                prepared.folder, [frame[one].tolist() for one in task.texts], frame["label"].tolist(), PADDED_TO
            )
            for name, frame in prepared.frames.items()
        }
        made_by = f"benchmark {case.model} {case.shape} {case.task} {case.data}"
        materials = Materials(case.task, prepared.config, state, bases, splits, case.precision, made_by)
        keeper = MappedStates(Store(Path(case.cache)), States(disk_gib=50.0))
        self.case, self.bench = case, build_workbench(materials, keeper=keeper)

    def configuration(self) -> Any:
        """Return the trial: Wq and Wv of the case's layers at tau, energy rule."""
        from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
        from qrlora_search.values.ranks import energy_rank

        ranks = tuple(
            AdaptedMatrix(
                layer, matrix, energy_rank(self.bench.materials.bases[layer, matrix].diagonal_D, self.case.tau)
            )
            for layer in self.case.layers
            for matrix in self.case.matrices
        )
        return Configuration(ranks, LEARNING_RATE, BATCH, 5, "frozen", 0.0, 0.0)

    def states(self) -> float:
        """Make the constant states and return the seconds it took."""
        started = time.perf_counter()
        self.bench.hold(min(self.case.layers))
        return time.perf_counter() - started

    def count(self) -> tuple[float, float, int]:
        """Return the multiply-adds of the floor, the share of padding in an epoch's batches, and trained parameters."""
        from tests.benchmarks.floor import multiply_adds

        from qrlora_search.method.tokens import padding_share, training_batches

        train, trial = self.bench.splits["train"], self.configuration()
        padding = padding_share(train, training_batches(train, BATCH, 0, 1))
        return multiply_adds(self.bench, trial), padding, trial.parameters

    def epoch(self, _: float) -> tuple[float, float]:
        """Train and score one whole epoch and return the seconds of both."""
        from qrlora_search.describe.protocols import TrialOrder
        from qrlora_search.method.training import TrialTrainer

        trainer = TrialTrainer(self.bench, TrialOrder(0, self.configuration(), 0))
        report = trainer.step()
        return report.seconds - report.scoring_s - report.states_s, report.scoring_s


class Baseline:
    """transformers' Trainer with PEFT's LoRA. padded: every text to 128 tokens, as the usual GLUE script does."""

    def __init__(self, prepared: Prepared, bf16: bool, padded: bool) -> None:
        import datasets
        from peft import LoraConfig, TaskType, get_peft_model
        from transformers import AutoTokenizer, DataCollatorWithPadding, default_data_collator

        from qrlora_search.describe.tasks import find_task
        from qrlora_search.method.families import PROJECTIONS

        case, self.task = prepared.case, find_task(prepared.case.task)
        self.bf16 = bf16
        names = "|".join(PROJECTIONS[matrix].replace(".", r"\.") for matrix in case.matrices)  # type: ignore[index]
        layers = "|".join(map(str, case.layers))
        settings = LoraConfig(
            task_type=TaskType.SEQ_CLS, r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=rf".*\.({layers})\.({names})"
        )
        self.model = get_peft_model(classifier(prepared, self.task.outputs), settings)
        tokenizer = AutoTokenizer.from_pretrained(prepared.folder, local_files_only=True)
        self.collate = default_data_collator if padded else DataCollatorWithPadding(tokenizer)
        padding = "max_length" if padded else False
        self.sets = {}
        for name, frame in prepared.frames.items():
            texts = [frame[one].tolist() for one in self.task.texts]
            rows = dict(tokenizer(*texts, truncation=True, max_length=PADDED_TO, padding=padding))
            kind = float if self.task.regression else int
            self.sets[name] = datasets.Dataset.from_dict({**rows, "labels": [kind(one) for one in frame["label"]]})

    def epoch(self, share: float) -> tuple[float, float]:
        """Train and score one epoch (or the first part of the rows) and return the seconds of both."""
        from transformers import PrinterCallback, Trainer, TrainingArguments

        from qrlora_search.method.metrics import compute_metrics

        sets = {name: rows.select(range(max(BATCH, int(len(rows) * share)))) for name, rows in self.sets.items()}

        def metrics(prediction: Any) -> dict[str, float]:
            guesses = prediction.predictions
            guesses = guesses[:, 0] if self.task.regression else guesses.argmax(-1).astype(np.float64)
            return compute_metrics(self.task, prediction.label_ids.astype(np.float64), guesses)

        with tempfile.TemporaryDirectory(prefix="trainer-") as folder:
            arguments = TrainingArguments(
                output_dir=folder, per_device_train_batch_size=BATCH, per_device_eval_batch_size=EVAL_BATCH,
                num_train_epochs=1, learning_rate=LEARNING_RATE, bf16=self.bf16, report_to="none", save_strategy="no",
                logging_strategy="no", eval_strategy="no", disable_tqdm=True, seed=0, use_cpu=not _cuda(),
            )  # fmt: skip
            trainer = Trainer(
                model=self.model, args=arguments, train_dataset=sets["train"], eval_dataset=sets["selection"],
                data_collator=self.collate, compute_metrics=metrics,
            )  # fmt: skip
            trainer.remove_callback(PrinterCallback)
            started = time.perf_counter()
            trainer.train()
            trained = time.perf_counter()
            trainer.evaluate()
            return trained - started, time.perf_counter() - trained


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


SIDES: dict[str, Callable[[Prepared], Any]] = {
    "ours": Ours,
    "A": lambda prepared: Baseline(prepared, bf16=False, padded=False),
    "B": lambda prepared: Baseline(prepared, bf16=True, padded=False),
    "C": lambda prepared: Baseline(prepared, bf16=False, padded=True),
}


def work(pipe: Connection) -> None:
    """Answer commands until told to end: the body of one process."""
    import warnings

    import datasets
    import torch
    from transformers.utils import logging

    warnings.simplefilter("ignore")  # the Trainer's own deprecations
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    sides: dict[str, Any] = {}
    prepared: Prepared | None = None
    while (command := pipe.recv()) is not None:
        what, *rest = command
        if what == "case":
            sides, prepared = {}, prepare(rest[0])
            pipe.send(prepared.stand_in)
        elif what == "speed":
            torch.set_num_threads(1)
            pipe.send(speed(*rest))
        elif what == "states":
            torch.set_num_threads(rest[0])
            sides["ours"] = Ours(prepared)
            pipe.send(sides["ours"].states())
        elif what == "count":
            pipe.send(sides["ours"].count())
        elif what == "width":
            pipe.send(tuple(reversed(sides["ours"].bench.encoder.layers[0].up[0].shape)))
        else:
            name, threads, share = rest
            torch.set_num_threads(threads)
            if name not in sides:
                sides[name] = SIDES[name](prepared)
            pipe.send(sides[name].epoch(share))


def speed(precision: str, width: int, inner: int) -> float:
    """Return multiply-adds a second of this thread, at the best of several sizes of the model's own products."""
    import torch

    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    best = 0.0
    for rows in (384, 1024, 4096):
        a, b = torch.ones(rows, width, dtype=dtype), torch.ones(width, inner, dtype=dtype)
        out = torch.empty(rows, inner, dtype=dtype)
        torch.mm(a, b, out=out)
        for _ in range(5):
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < 0.2:
                torch.mm(a, b, out=out)
                count += 1
            best = max(best, count * rows * width * inner / (time.perf_counter() - started))
    return best
