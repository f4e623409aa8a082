"""What a trial takes of a cluster, which nodes can hold it, and how many at once."""

import math
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

LOOK_S = 5.0
NODE = "ray.io/node-id"
"""The label that Ray gives every node."""


@dataclass(frozen=True)
class TrialResources:
    """What a trial takes. threads: processors. gpus: a fraction, or a whole number. labels: of its nodes."""

    threads: int = 1
    gpus: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)

    def fits(self, node: Mapping[str, Any]) -> int:
        """Returns how many trials a node holds."""
        amounts = node["Resources"]
        here = int(amounts.get("CPU", 0.0) // self.threads)
        return min(here, int(amounts.get("GPU", 0.0) / self.gpus + 1e-9)) if self.gpus else here

    def bundle(self, unfit: Sequence[str] = ()) -> "PlacementGroupFactory":
        """Returns it in Ray Tune's words. unfit: the ids of nodes where it is not to be placed."""
        from ray.tune import PlacementGroupFactory

        amounts = {"CPU": float(self.threads), **({"GPU": self.gpus} if self.gpus else {})}
        labels = {**self.labels, **({NODE: f"!in({','.join(unfit)})"} if unfit else {})}
        chosen: dict[str, Any] = {"bundle_label_selector": [labels]} if labels else {}
        return PlacementGroupFactory([amounts], **chosen)


def _plain(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if not value.startswith(("!", "in("))}


def living_nodes(labels: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Returns the cluster's nodes with these labels, in Ray's words; patterns (`!a`, `in(a,b)`) are left to Ray."""
    import ray

    wanted = _plain(labels).items()
    nodes: list[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"] and wanted <= dict(node["Labels"]).items()]


def places(each: TrialResources, unfit: Container[str] = ()) -> int:
    """Returns how many trials the cluster's nodes hold, without those of these ids."""
    return sum(each.fits(node) for node in living_nodes(each.labels) if str(node["NodeID"]) not in unfit)


def missing_nodes(each: TrialResources) -> str:
    """Returns in words that no node can hold a trial yet, or an empty text. One may still join: trials wait for it."""
    if places(each):
        return ""
    alive, plain = living_nodes({}), _plain(each.labels)
    asked = [f"{each.threads} CPU", *([f"{each.gpus:g} GPU"] if each.gpus else [])]
    asked += [f"{name}={value}" for name, value in plain.items()]
    known = {f"{name}={value}" for node in alive for name, value in node["Labels"].items() if "/" not in name}
    there = ", ".join(sorted(known)) or "none"
    return (
        f"none of the cluster's {len(alive)} nodes has {', '.join(asked)} (labels there: {there}): "
        "trials wait until one joins"
    )


class Room:
    """How many trials may be under way on a cluster: what its nodes hold, and one that waits, so that a place that gets
    free or a node that joins has a trial at once, and an autoscaler sees that more is wanted.
    """

    def __init__(self, each: TrialResources, unfit: Container[str] = ()) -> None:
        self.each, self.unfit, self.asked, self.found = each, unfit, -math.inf, 1

    def __call__(self) -> int:
        """Returns the number, looked up every few seconds."""
        now = time.monotonic()
        if now - self.asked > LOOK_S:
            self.asked, self.found = now, 1 + places(self.each, self.unfit)
        return self.found
