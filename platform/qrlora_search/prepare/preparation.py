"""What a search prepares once: tokenised splits, the warmed-up model, the bases. A second search finds all made."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from qrlora_search.describe.configuration import MATRICES, Matrix
from qrlora_search.describe.plan import SearchPlan, digest
from qrlora_search.describe.proposals import Spectra
from qrlora_search.describe.tasks import find_task
from qrlora_search.method.bases import FACTORISATIONS, FACTORS_OF, Basis, factorise
from qrlora_search.method.families import attention_weights, read_config
from qrlora_search.method.fine_tuning import WarmUpJob, read_weights
from qrlora_search.method.machine import cpus_here
from qrlora_search.method.sources import hash_rows
from qrlora_search.method.splits import Splits
from qrlora_search.method.tokens import TokenSet, padding_share, tokenize, training_batches
from qrlora_search.method.workbench import Materials
from qrlora_search.prepare.store import Store

FORMAT = 1
State = dict[str, NDArray[np.float32]]
Told = Callable[[str], None]
WarmUpRunner = Callable[[WarmUpJob, Told], State]
"""Trains the job's model, wherever it likes, and returns its weights by transformers' names."""

_COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class Prepared:
    """All that trials need. materials: with every split, the report splits included. spectra: |R_ii| by projection.

    warm_up: folder of the warmed-up model, which transformers can load. bases: folders of the factors by name. made:
    what was not found in the store. seconds: by step. padding: share of padding in an epoch's training batches.
    further: materials of the warm-ups that confirmation repeats the search's own with; none of theirs is in the others.
    """

    materials: Materials
    spectra: Spectra
    warm_up: Path
    bases: dict[str, Path]
    made: tuple[str, ...]
    seconds: dict[str, float]
    padding: float
    further: tuple[Materials, ...] = ()


def warm_up_inputs(plan: SearchPlan, splits: Splits, number: int = 0) -> dict[str, object]:
    """Returns what makes a warm-up: the model, the rows it sees, the settings and the seed. number: of the plan's."""
    return {
        "format": FORMAT,
        "model": plan.model.fingerprint,
        "task": plan.task,
        "rows": hash_rows({"train": splits.train}),
        "max_length": plan.space.training.max_length,
        "settings": plan.space.warm_up.model_dump(mode="json"),
        "seed": plan.warm_up_seeds[number],
        "precision": plan.precision,
    }


def bases_inputs(plan: SearchPlan, splits: Splits, how: str = "qr", number: int = 0) -> dict[str, object]:
    """Returns what makes the bases: the weights that are factorised, and how where it is not by pivoted QR."""
    other = {} if how == "qr" else {"how": how}
    if plan.space.bases.of == "pretrained":
        return {"format": FORMAT, "model": plan.model.fingerprint, **other}
    return {"format": FORMAT, "warm-up": digest(warm_up_inputs(plan, splits, number)), **other}


def factorisations(plan: SearchPlan) -> list[str]:
    """Returns the factorisations that a search needs by name: the pivoted QR, whose spectra make all ranks, first."""
    needed = {FACTORS_OF[method] for method in plan.space.methods.of if method in FACTORS_OF}
    return ["qr", *sorted(needed - {"qr"})]


def to_make(plan: SearchPlan, splits: Splits, store: Store) -> tuple[int, int]:
    """Returns how many of the plan's warm-ups the store lacks, and how many factorisations of them by pivoted QR."""
    numbers = range(len(plan.warm_up_seeds))
    warm_ups = [store.has("warm-ups", warm_up_inputs(plan, splits, number)) for number in numbers]
    bases = {digest(one): store.has("bases", one) for one in (bases_inputs(plan, splits, "qr", n) for n in numbers)}
    return warm_ups.count(False), list(bases.values()).count(False)


def prepare(plan: SearchPlan, splits: Splits, store: Store, run: WarmUpRunner, told: Told) -> Prepared:
    """Returns what trials need, making what the store lacks. told: receives progress in words."""
    watch, folder = _Watch(), Path(plan.model.path)
    told("tokenising")
    tokens = tokenize_splits(plan, splits, folder)
    watch.lap("tokenising")
    making = _Making(plan, splits, store, run, told, tokens, watch)
    grounds = [making.ground(number) for number in range(len(plan.warm_up_seeds))]
    first, *further = grounds
    spectra = {place: basis.diagonal_D for place, basis in first.materials.bases.items()}
    batches = training_batches(tokens["train"], plan.space.training.batch_sizes[0], plan.seed, 1)
    return Prepared(
        materials=first.materials,
        spectra=spectra,
        warm_up=first.warm_up,
        bases=first.factors,
        made=tuple(making.made),
        seconds=watch.seconds,
        padding=padding_share(tokens["train"], batches),
        further=tuple(one.materials for one in further),
    )


@dataclass(frozen=True)
class _Ground:
    """A warm-up, its bases, and what they are as materials."""

    materials: Materials
    warm_up: Path
    factors: dict[str, Path]


@dataclass
class _Making:
    """Makes the plan's warm-ups and their bases, or finds them in the store."""

    plan: SearchPlan
    splits: Splits
    store: Store
    run: WarmUpRunner
    told: Told
    tokens: dict[str, TokenSet]
    watch: "_Watch"
    made: list[str] = field(default_factory=list)
    known: dict[Path, dict[tuple[int, Matrix], Basis]] = field(default_factory=dict)

    def loaded(self, folder: Path) -> dict[tuple[int, Matrix], Basis]:
        """Returns the factors in a folder, once for all warm-ups that share them."""
        if folder not in self.known:
            self.known[folder] = load_bases(folder)
        return self.known[folder]

    def ground(self, number: int) -> _Ground:
        """Returns a warm-up of the plan with its bases."""
        plan, folder = self.plan, Path(self.plan.model.path)
        config = read_config(folder)
        inputs, named = warm_up_inputs(plan, self.splits, number), f" {number + 1}" if number else ""
        if not self.store.has("warm-ups", inputs):
            self.made.append(f"warm-up{named}")
        seed = plan.warm_up_seeds[number]
        warm_up = self.store.get_or_make(
            "warm-ups", inputs, lambda draft: _warm_up(plan, self.tokens["train"], self.run, self.told, draft, seed)
        )
        state = load_file(warm_up / "model.safetensors")
        self.watch.lap("warm-up")
        factors: dict[str, Path] = {}
        source = folder if plan.space.bases.of == "pretrained" else warm_up
        for how in factorisations(plan):
            inputs = bases_inputs(plan, self.splits, how, number)
            if not self.store.has("bases", inputs):
                self.made.append(f"bases{'' if how == 'qr' else f' ({how})'}{named}")
                self.told(f"factorising ({how})")
            factors[how] = self.store.get_or_make("bases", inputs, partial(_factorise, config, source, how))
        bases, *others = (self.loaded(place) for place in factors.values())
        self.watch.lap("factorising")
        more = dict(zip(list(factors)[1:], others, strict=True))
        content = Materials(plan.task, config, state, bases, self.tokens, plan.precision, hash_state(state), more)
        return _Ground(content, warm_up, factors)


def hash_state(state: State) -> str:
    """Returns a hash of weights by name. It is taken of the weights themselves: a warm-up that is made again on another
    number of threads has the same inputs and other last bits.
    """
    content = hashlib.sha256()
    for name, array in sorted(state.items()):
        content.update(f"{name} {array.dtype} {array.shape}".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


class _Watch:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.before = time.perf_counter()

    def lap(self, step: str) -> None:
        """Notes the time since the step before."""
        now = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self.before
        self.before = now


def tokenize_splits(plan: SearchPlan, splits: Splits, folder: Path) -> dict[str, TokenSet]:
    """Returns every split tokenised: `train`, `selection` and the report splits by name."""
    task = find_task(plan.task)
    frames = {"train": splits.train, "selection": splits.selection, **splits.report}
    return {
        name: tokenize(
            folder,
            [frame[column].tolist() for column in task.texts],
            frame["label"].tolist(),
            plan.space.training.max_length,
        )
        for name, frame in frames.items()
    }


def _warm_up(plan: SearchPlan, train: TokenSet, run: WarmUpRunner, told: Told, draft: Path, seed: int) -> None:
    folder = Path(plan.model.path)
    config, task = read_config(folder), find_task(plan.task)
    job = WarmUpJob(task, config, read_weights(folder), train, plan.space.warm_up, seed, plan.precision)
    state = run(job, told)
    save_file(state, draft / "model.safetensors", metadata={"format": "pt"})
    names = {str(index): name for index, name in enumerate(task.labels)} or {"0": "value"}
    saved = {
        **config,
        "architectures": ["BertForSequenceClassification" if config["model_type"] == "bert" else
                          "RobertaForSequenceClassification"],
        "id2label": names,
        "label2id": {name: int(index) for index, name in names.items()},
        "problem_type": "regression" if task.regression else "single_label_classification",
    }  # fmt: skip
    (draft / "config.json").write_text(json.dumps(saved, indent=1), encoding="utf-8")
    for name in _COPIED:
        if (folder / name).is_file():
            shutil.copy(folder / name, draft / name)


def _factorise(config: dict[str, Any], folder: Path, how: str, draft: Path) -> None:
    found = attention_weights(config, read_weights(folder))
    arrays: State = {}
    for (layer, matrix), basis in factorise(found, cpus_here(), FACTORISATIONS[how]).items():
        key = f"{layer}.{matrix}"
        arrays |= {f"{key}.q": basis.q_OD, f"{key}.rt": basis.rt_DI, f"{key}.diagonal": basis.diagonal_D}
    save_file(arrays, draft / "bases.safetensors")


def load_bases(folder: Path) -> dict[tuple[int, Matrix], Basis]:
    """Returns the factors that lie in a folder, by projection."""
    return read_bases(folder / "bases.safetensors")


def read_bases(file: Path) -> dict[tuple[int, Matrix], Basis]:
    """Returns the factors in a file, by projection."""
    arrays = load_file(file)
    depth = 1 + max(int(name.split(".")[0]) for name in arrays)
    return {
        (layer, matrix): Basis(*(arrays[f"{layer}.{matrix}.{part}"] for part in ("q", "rt", "diagonal")))
        for layer in range(depth)
        for matrix in MATRICES
    }
