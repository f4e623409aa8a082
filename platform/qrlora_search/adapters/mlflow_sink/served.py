"""The code of a front's member as an MLflow model: MLflow runs this file where the model is loaded."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from scipy.special import softmax

from qrlora_search.describe.configuration import configuration_from_json
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.tasks import find_task
from qrlora_search.method.bases import FACTORS_OF
from qrlora_search.method.families import read_config
from qrlora_search.method.fine_tuning import read_weights
from qrlora_search.method.tokens import tokenize
from qrlora_search.method.training import restore
from qrlora_search.method.workbench import Materials, build_workbench, predictions_of
from qrlora_search.prepare.preparation import hash_state, read_bases


class Member(PythonModel):
    """A warmed-up base with one member's adapter. Texts in, labels and probabilities (or values) out, float32."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads the adapter and its base. Raises ValueError where the base is another model."""
        self.facts = json.loads(Path(context.artifacts["facts"]).read_text(encoding="utf-8"))
        self.weights = Path(context.artifacts["adapter"]).read_bytes()
        place = str(context.model_config["base"])
        folder = Path(mlflow.artifacts.download_artifacts(place))
        self.base = json.loads((folder / "base.json").read_text(encoding="utf-8"))
        self.folder, state = folder, read_weights(folder)
        wanted = context.model_config.get("weights", self.base["weights"])  # older models do not say
        if hash_state(state) != wanted:
            raise ValueError(f"the base {place} has other weights than the adapter was trained on")
        files = {f"factors-{how}.safetensors": content for how, content in self.base["factors"].items()}
        for name, content in (files | self.base.get("files", {})).items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != content:
                raise ValueError(f"{name} of the base {place} is not as it was made")
        configuration = configuration_from_json(self.facts["configuration"])
        self.order = TrialOrder(int(self.facts["trial"]), configuration, 0)
        how = FACTORS_OF.get(configuration.method)
        factors = {} if how is None else read_bases(folder / f"factors-{how}.safetensors")
        first = factors if how == "qr" else {}
        others = {} if how in {None, "qr"} else {str(how): factors}
        self.materials = Materials(
            self.facts["task"], read_config(folder), state, first, {}, "float32", self.base["weights"], others
        )

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Returns a row a text: the label and its probability, or a regression's value. Columns: the task's texts."""
        task = find_task(self.facts["task"])
        texts = [model_input[name].tolist() for name in task.texts]
        asked = tokenize(self.folder, texts, [0.0] * len(model_input), int(self.base["max_length"]))
        bench = build_workbench(replace(self.materials, splits={"train": asked, "asked": asked}))
        logits = restore(bench, self.order, self.weights).logits("asked")
        predictions = predictions_of(task, logits)
        if task.regression:
            return pd.DataFrame({"prediction": predictions})
        names = [task.labels[int(one)] for one in predictions]
        probability = softmax(logits.astype(np.float64), axis=1).max(axis=1)
        return pd.DataFrame({"prediction": names, "probability": probability})


mlflow.models.set_model(Member())
