"""One Ray Tune actor: it builds its workbench once and trains trial after trial on it."""

from typing import Any

import ray
import torch
from ray import tune

from qrlora_search.describe.configuration import configuration_from_json
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.space import States
from qrlora_search.method.machine import refusal
from qrlora_search.method.training import TrialFailedError, TrialTrainer, out_of_memory_told
from qrlora_search.method.workbench import Materials, Workbench, build_workbench
from qrlora_search.prepare.states import MappedStates
from qrlora_search.prepare.store import Store, default_root

REPORT = "qrlora_report"
FAILURE = "qrlora_failure"


class TrialActor(tune.Trainable):
    """Trains the trial in its config, an epoch a step. Reused: a reset changes the trial and keeps the workbench of the
    warm-up that it stands on.
    """

    refused: str
    materials: Materials
    further: list[Any]
    keeper: MappedStates
    benches: dict[int, Workbench]
    order: TrialOrder
    trainer: TrialTrainer | None

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], materials: Materials, further: list[Any], states: States
    ) -> None:
        """Builds the workbench from arrays in Ray's object store, which are mapped, not copied, as constant states are.

        further: references to the materials of further warm-ups. A node that lacks the plan's precision builds nothing
        and fails its trials with that reason.
        """
        self.refused = refusal(materials.precision)
        if self.refused:
            return
        torch.set_num_threads(max(1, int(config["threads"])))
        self.materials, self.further, self.benches = materials, further, {}
        self.keeper = MappedStates(Store(default_root()), states)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turns to the next trial."""
        if not self.refused:
            self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.trainer = None  # made at the first step: what goes wrong in it is the trial's own failure
        configuration, kept = configuration_from_json(dict(config["configuration"])), config["checkpoint"]
        checkpoint = b"" if kept is None else ray.get(kept)
        self.order = TrialOrder(config["trial"], configuration, config["seed"], checkpoint, config["warm_up"])
        warm_up = self.order.warm_up
        if warm_up not in self.benches:
            self.benches.clear()  # one at a time: two would take twice the memory
            materials = ray.get(self.further[warm_up - 1]) if warm_up else self.materials
            self.benches[warm_up] = build_workbench(materials, keeper=self.keeper)

    def step(self) -> dict[str, Any]:
        """Trains one epoch and returns its report, or the trial's own failure with its reason; other errors are raised
        and are a failure, too.
        """
        if self.refused:
            return {FAILURE: self.refused}
        try:
            with out_of_memory_told():
                if self.trainer is None:
                    self.trainer = TrialTrainer(self.benches[self.order.warm_up], self.order)
                return {REPORT: self.trainer.step()}
        except TrialFailedError as error:
            return {FAILURE: str(error)}
