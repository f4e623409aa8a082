"""Every method's adapter outside of the search: put together on its base, merged, and as PEFT's LoRA, it is the model
that was trained.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load, save_file

from qrlora_search.adapters.peft_exchange.lora import head_weights, write_lora
from qrlora_search.app.adapted import Adapted, assemble
from qrlora_search.app.bases import keep_base, read_base
from qrlora_search.describe.configuration import AdaptedMatrix, Configuration, Method
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.tasks import find_task
from qrlora_search.method.fine_tuning import export_state
from qrlora_search.method.splits import Splits
from qrlora_search.method.training import TrialTrainer
from qrlora_search.method.workbench import Materials, build_workbench
from qrlora_search.prepare.preparation import prepare
from qrlora_search.prepare.store import Store
from scripted import plan
from tiny import save_tiny_model

METHODS: tuple[Method, ...] = ("qr-lora", "svd-diagonal", "random-basis", "lora", "svd-lora")
RANKS = (AdaptedMatrix(0, "o", 2), AdaptedMatrix(1, "k", 3), AdaptedMatrix(2, "q", 1), AdaptedMatrix(2, "v", 2))
FAMILIES = {"bert": "mrpc", "roberta": "stsb"}
WORDS = ["ab", "cde", "fg", "hij", "kl", "mno"]


@dataclass(frozen=True)
class Ground:
    """What a family's trials stand on: the materials in memory, and the base's folder of the same. texts: columns of
    the selection split.
    """

    family: str
    materials: Materials
    base: Path
    texts: list[list[str]]


def rows(task, n: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    texts = {
        name: [" ".join(random.choice(WORDS, size=random.integers(2, 9))) for _ in range(n)] for name in task.texts
    }
    labels = random.uniform(0, 5, n) if task.regression else random.integers(0, 2, n)
    return pd.DataFrame({**texts, "label": labels})


def warmed_up(job, _told):
    """Return the weights of a classifier whose layers weigh enough that an update of them is seen in its logits."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(3)
    config = AutoConfig.for_model(**job.config, num_labels=job.task.outputs, initializer_range=0.2)
    return export_state(AutoModelForSequenceClassification.from_config(config))


@pytest.fixture(scope="module", params=list(FAMILIES))
def ground(request, tmp_path_factory) -> Ground:
    family, task = request.param, find_task(FAMILIES[request.param])
    folder = tmp_path_factory.mktemp(family)
    model = save_tiny_model(folder / "model", family, WORDS)
    asked = plan(methods={"of": METHODS}, training={"max_length": 48, "precision": "float32"})
    source = asked.model.model_copy(update={"path": str(model), "fingerprint": "tiny"})
    asked = asked.model_copy(update={"task": task.name, "model": source})
    splits = Splits(rows(task, 24, 0), rows(task, 16, 1), {}, 0)
    prepared = prepare(asked, splits, Store(folder / "cache"), warmed_up, lambda _: None)
    keep_base(prepared, asked, folder)
    return Ground(family, prepared.materials, folder / "base", [splits.selection[name].tolist() for name in task.texts])


def trained(ground: Ground, method: Method, head: str) -> tuple[np.ndarray, Adapted]:
    """Return the logits of the training engine after two epochs, and the adapter put together from what it left."""
    per_rank = 64 if method in {"lora", "svd-lora"} else 1
    rate = 1e-2 if head == "trained" else 0.0
    configuration = Configuration(RANKS, 0.2, 8, 2, head, rate, 0.0, method, per_rank)
    trainer = TrialTrainer(build_workbench(ground.materials), TrialOrder(0, configuration, 0))
    report = [trainer.step() for _ in range(2)][-1]
    with torch.no_grad():
        logits = trainer.bench.logits("selection", trainer.trained.adapters(), trainer.head, trainer.lowest)
    facts = {**read_base(ground.base), "task": ground.materials.task}
    return logits, assemble(ground.base, configuration, load(report.weights), facts)


def logits_of(model, ground: Ground) -> np.ndarray:
    from transformers import AutoTokenizer

    tokenizer, longest = AutoTokenizer.from_pretrained(ground.base), read_base(ground.base)["max_length"]
    tokens = tokenizer(*ground.texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    with torch.inference_mode():
        return model.eval()(**tokens).logits.numpy()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's own use
@pytest.mark.parametrize("head", ["frozen", "trained"])
@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_is_the_trained_model_in_every_form(ground, method, head, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    wanted, adapted = trained(ground, method, head)
    base = AutoModelForSequenceClassification.from_pretrained(ground.base)
    assert np.abs(logits_of(base, ground) - wanted).max() > 0.005  # the adapter does something here
    np.testing.assert_allclose(adapted.logits(ground.texts), wanted, atol=1e-5)
    ranks = {place: down.shape[0] for place, (_, down) in adapted.factors.items()}
    twice = 2 if method == "svd-lora" else 1  # what it began from is taken off by as many columns again
    assert ranks == {(one.layer, one.matrix): twice * one.rank for one in RANKS}

    merged = tmp_path / "merged"
    merged.mkdir()
    save_file(adapted.merged(), merged / "model.safetensors", metadata={"format": "pt"})
    (merged / "config.json").write_bytes((ground.base / "config.json").read_bytes())
    plain = AutoModelForSequenceClassification.from_pretrained(merged)
    np.testing.assert_allclose(logits_of(plain, ground), wanted, atol=1e-5)

    head_now = {name: adapted.state[name] for name in head_weights(ground.family)}
    changed = [name for name, part in head_now.items() if not np.array_equal(part, ground.materials.state[name])]
    assert (changed != []) == (head == "trained")
    write_lora(tmp_path, ground.family, adapted.factors, head_now, "base")
    np.testing.assert_allclose(logits_of(PeftModel.from_pretrained(base, tmp_path), ground), wanted, atol=1e-5)
