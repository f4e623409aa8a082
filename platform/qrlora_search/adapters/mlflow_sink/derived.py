"""Runs of the front's derived members. A trial's own run shows what it trained; a member that keeps some of its
coefficients is another point of the front, and has a run of its own, so that MLflow's charts draw the whole front.
"""

import json
from pathlib import Path
from typing import Any

from qrlora_search.adapters.mlflow_sink import tracking
from qrlora_search.adapters.mlflow_sink.children import marked, params_of, run_name, size_metrics
from qrlora_search.describe.configuration import configuration_from_json
from qrlora_search.record.history import History

KIND = "derived"


def keep_derived(
    client: Any, experiment: str, parent: str, history: History, members: list[dict[str, Any]], output: Path
) -> dict[str, str]:
    """Gives every derived member of a front its run, and returns the runs by adapter. A point that an earlier end of
    the search had on its front and this one has not keeps its run, as not on the front.

    members: of front.json. output: of the search, with the members' adapters.
    """
    condition = f"tags.`qrlora.search` = '{history.search_id}' AND tags.`qrlora.kind` = '{KIND}'"
    there = {one.data.tags["qrlora.adapter"]: one.info.run_id for one in
             tracking.all_runs(client, [experiment], condition)}  # fmt: skip
    mark, runs = "" if history.plan is None else marked(history.plan), dict[str, str]()
    for one in members:
        facts = (output / one["adapter"]).with_suffix(".json")
        if one["kept"] is None or not facts.is_file():
            continue
        trial, kept, adapter = int(one["trial"]), int(one["kept"]), str(one["adapter"])
        run = there.get(adapter)
        if run is None:
            tags = {
                "mlflow.runName": f"{run_name(trial)}, {kept} kept{mark}",
                "mlflow.parentRunId": parent,
                "qrlora.search": history.search_id,
                "qrlora.kind": KIND,
                "qrlora.adapter": adapter,
                "qrlora.derived_from": str(trial),
            }
            run = str(client.create_run(experiment, tags=tags).info.run_id)
        runs[adapter] = run
        configuration = configuration_from_json(json.loads(facts.read_text(encoding="utf-8"))["configuration"])
        params = params_of(history.trials[trial].proposal, configuration)
        tracking.log_params(client, run, {**params, "words": one["words"]})
        if not client.get_metric_history(run, "score"):
            first = one["first"]
            values = {"score": first["score"], "score_error": first["error"], **first["metrics"]}
            for (number, count, split), scored in history.confirmation.derived.items():
                if (number, count) == (trial, kept):
                    values |= {f"{split}.{name}": value for name, value in scored.metrics.items()}
            tracking.log_values(client, run, {**values, **size_metrics(configuration)}, 0)
        words = f"the {kept} coefficients of trial {trial} with the largest effect, scored without training"
        client.set_tag(run, "qrlora.reason", words)
        _place(client, run, True)
    for adapter in there.keys() - runs.keys():
        _place(client, there[adapter], False)
    return runs


def _place(client: Any, run: str, on_front: bool) -> None:
    """Says whether a derived point is on the front, and ends its run."""
    for name, value in (("qrlora.state", KIND), ("pareto.on_front", str(on_front).lower())):
        client.set_tag(run, name, value)
    if on_front:
        client.set_tag(run, "pareto.rank", "0")
    elif "pareto.rank" in client.get_run(run).data.tags:
        client.delete_tag(run, "pareto.rank")
    client.set_terminated(run)
