"""One Ray Tune actor: it builds its workbench once and trains trial after trial on it."""

from typing import Any

import torch
from ray import tune

from qrlora_search.describe.configuration import configuration_from_json
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.space import States
from qrlora_search.method.machine import refusal
from qrlora_search.method.training import TrialFailedError, TrialTrainer
from qrlora_search.method.workbench import Materials, Workbench, build_workbench
from qrlora_search.prepare.states import MappedStates
from qrlora_search.prepare.store import Store, default_root

REPORT = "qrlora_report"
FAILURE = "qrlora_failure"


class TrialActor(tune.Trainable):
    """Trains the trial in its config, an epoch a step. Reused: a reset changes the trial and keeps the workbench."""

    bench: Workbench
    trainer: TrialTrainer

    def setup(self, config: dict[str, Any], materials: Materials, states: States) -> None:  # type: ignore[override]
        """Builds the workbench from arrays in Ray's object store, which are mapped, not copied, as constant states are.

        Raises RuntimeError where this node lacks the plan's precision.
        """
        refused = refusal(materials.precision)
        if refused:
            raise RuntimeError(refused)
        torch.set_num_threads(max(1, int(config["threads"])))
        self.bench = build_workbench(materials, keeper=MappedStates(Store(default_root()), states))
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turns to the next trial."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        order = TrialOrder(config["trial"], configuration_from_json(dict(config["configuration"])), config["seed"])
        self.trainer = TrialTrainer(self.bench, order)

    def step(self) -> dict[str, Any]:
        """Trains one epoch and returns its report, or the trial's own failure with its reason."""
        try:
            return {REPORT: self.trainer.step()}
        except TrialFailedError as error:
            return {FAILURE: str(error)}
