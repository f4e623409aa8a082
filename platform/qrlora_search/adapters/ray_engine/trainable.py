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
from qrlora_search.prepare.states import MappedStates, mapped_states

REPORT = "qrlora_report"
FAILURE = "qrlora_failure"


class UnfitNodeError(Exception):
    """The node lacks the plan's precision: its id, and why. No trial is to be placed there."""


class TrialActor(tune.Trainable):
    """Trains the trial in its config, an epoch a step. Reused: a reset changes the trial and keeps the workbench of the
    warm-up that it stands on.

    What takes time is done in a step: Tune says that a trial runs only when its actor is set up or reset, and only then
    the clock of `report_timeout_s` runs.
    """

    materials: Materials
    further: list[Any]
    states: States
    keeper: MappedStates | None
    ready: bool
    benches: dict[int, Workbench]
    given: dict[str, Any]
    trainer: TrialTrainer | None

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], materials: Materials, further: list[Any], states: States
    ) -> None:
        """Takes arrays in Ray's object store, which are mapped, not copied, as constant states are.

        further: references to the materials of further warm-ups.
        """
        self.materials, self.further, self.states = materials, further, states
        self.benches, self.keeper, self.ready = {}, None, False
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turns to the next trial."""
        self.given, self.trainer = new_config, None
        return True

    def _begin(self) -> TrialTrainer:
        config = self.given
        if not self.ready:
            refused = refusal(self.materials.precision)
            if refused:
                raise UnfitNodeError(f"{ray.get_runtime_context().get_node_id()} {refused}")
            torch.set_num_threads(max(1, int(config["threads"])))
            self.keeper, self.ready = mapped_states(self.states), True
        configuration, kept = configuration_from_json(dict(config["configuration"])), config["checkpoint"]
        checkpoint, warm_up = b"" if kept is None else ray.get(kept), int(config["warm_up"])
        if warm_up not in self.benches:
            self.benches.clear()  # one at a time: two would take twice the memory
            materials = ray.get(self.further[warm_up - 1]) if warm_up else self.materials
            self.benches[warm_up] = build_workbench(materials, keeper=self.keeper)
        order = TrialOrder(config["trial"], configuration, config["seed"], checkpoint, warm_up)
        return TrialTrainer(self.benches[warm_up], order)

    def step(self) -> dict[str, Any]:
        """Trains one epoch and returns its report, or the trial's own failure with its reason; other errors are raised
        and are a failure, too, but for UnfitNodeError.
        """
        try:
            with out_of_memory_told():
                if self.trainer is None:
                    self.trainer = self._begin()
                return {REPORT: self.trainer.step()}
        except TrialFailedError as error:
            return {FAILURE: str(error)}
