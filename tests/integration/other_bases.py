"""A base that is not the one that an adapter was trained on."""

import json
from pathlib import Path

import mlflow
import pytest
from safetensors.numpy import load_file, save_file

from qrlora_search.method.fine_tuning import read_weights
from qrlora_search.prepare.preparation import hash_state


def is_refused_on_another_base(model: str, base: Path) -> None:
    """Check that a model in MLflow refuses a base with other factors, or other weights and their description."""
    (factors,) = base.glob("factors-*.safetensors")
    content = factors.read_bytes()
    factors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=rf"{factors.name} of the base .* is not as it was made"):
        mlflow.pyfunc.load_model(model)
    factors.write_bytes(content)
    weights = load_file(base / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, base / "model.safetensors")
    described = json.loads((base / "base.json").read_text())
    described["weights"] = hash_state(read_weights(base))
    (base / "base.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="has other weights than the adapter was trained on"):
        mlflow.pyfunc.load_model(model)
