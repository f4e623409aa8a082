"""A link that opens MLflow on one search's trials, with its charts in place.

MLflow's pages keep a shared view as an experiment's tag `mlflow.sharedViewState.<key>` and read it back for
`?viewStateShareKey=<key>`. The form is that of MLflow 3.17's pages and no public interface:
`make evidence` opens the link in a browser.
"""

import json
from typing import Any

from qrlora_search.describe.configuration import DIAGONAL, LOW_RANK
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.tasks import TASKS
from qrlora_search.values.secrets import shown_address

TAG = "mlflow.sharedViewState."
_UI = "http://127.0.0.1:5000"
"""Where `make ui` serves a local database."""
_OF_SOME = {"tau": DIAGONAL, "rank": LOW_RANK}
"""Parameters that trials of these methods alone have."""


def view_state(search_id: str, plan: SearchPlan) -> dict[str, Any]:
    """Returns the state of MLflow's page of runs: score against parameters and parallel coordinates of one search's
    trials and of what its front derives from them; what is in a closed section is drawn when it is opened. MLflow loads
    a hundred at a time: those of the front first, of every size, then the newest.
    """
    front, shape = _section("front", 1), _section("settings", 1)  # seven axes need the whole width for their names
    more, curves = _section("more", 2, display=False), _section("curves", 2, display=False)
    charts = [
        _scatter("score-log-parameters", "log10_parameters", front, "score against log10(1 + adapter parameters)"),
        _parallel(shape, plan),
        _scatter("score-parameters", "parameters", more, "score against adapter parameters"),
        *([_contour(more, plan)] if set(plan.space.methods.of) & set(DIAGONAL) else []),
        *(_line(name, curves) for name in ("score", "held_out_loss")),
        *(_no_chart(name, shape) for name in _without_chart(plan)),
    ]
    return {
        "searchFilter": f"tags.`qrlora.search` = '{search_id}' AND tags.`qrlora.kind` != 'search'",
        "orderByKey": "tags.`pareto.on_front`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "runsHiddenMode": "SHOW_ALL",
        "runListHidden": True,  # the charts have the page's width; a button brings the list back
        "compareRunCharts": charts,
        "compareRunSections": [front, shape, more, curves],
        "isAccordionReordered": True,
        "selectedColumns": [
            *("metrics.`score`", "metrics.`parameters`", "params.`tau`", "params.`matrices`", "params.`learning_rate`"),
            *("tags.`qrlora.state`", "tags.`pareto.on_front`", "tags.`pareto.rank`", "tags.`qrlora.reason`"),
        ],
    }


def _section(name: str, columns: int, display: bool = True) -> dict[str, Any]:
    names = {"front": "Score against parameters", "settings": "Settings", "curves": "By epoch"}
    names["more"] = "Parameters unscaled; tau and learning rate"
    return {"uuid": f"qrlora-{name}", "name": names[name], "display": display, "isReordered": True, "columns": columns}


def _card(kind: str, name: str, section: dict[str, Any], title: str) -> dict[str, Any]:
    card = {"type": kind, "uuid": f"qrlora-{name}", "metricSectionId": section["uuid"], "displayName": title}
    return {**card, "runsCountToCompare": 500, "deleted": False, "isGenerated": False}


def _axis(key: str, kind: str = "METRIC") -> dict[str, str]:
    return {"key": key, "type": kind}


def _scatter(name: str, x: str, section: dict[str, Any], title: str) -> dict[str, Any]:
    return _card("SCATTER", name, section, title) | {"xaxis": _axis(x), "yaxis": _axis("score")}


def _parallel(section: dict[str, Any], plan: SearchPlan) -> dict[str, Any]:
    """Returns parallel coordinates of what every trial has: MLflow leaves out each run that lacks one of the axes."""
    own = [name for name, methods in _OF_SOME.items() if set(plan.space.methods.of) <= set(methods)]
    chosen = {"selectedParams": [*own, "learning_rate", "layer_count", "lowest_layer", "matrix_count"]}
    title = "settings of each trial"
    return _card("PARALLEL", "parallel", section, title) | chosen | {
        "selectedMetrics": ["log10_parameters", "score"], "showAllRuns": True,
    }  # fmt: skip


def _contour(section: dict[str, Any], plan: SearchPlan) -> dict[str, Any]:
    mixed = set(plan.space.methods.of) - set(DIAGONAL)
    title = f"score by tau and learning rate{' (methods with tau)' if mixed else ''}"
    axes = {"xaxis": _axis("tau", "PARAM"), "yaxis": _axis("learning_rate", "PARAM"), "zaxis": _axis("score")}
    return _card("CONTOUR", "contour", section, title) | axes


def _line(metric: str, section: dict[str, Any]) -> dict[str, Any]:
    """Returns a chart of a metric by epoch. In a section that is closed it fetches nothing."""
    return _card("LINE", f"line-{metric}", section, metric) | {
        "metricKey": metric, "lineSmoothness": 0, "xAxisKey": "step", "xAxisScaleType": "linear", "scaleType": "linear",
        "range": {}, "yAxisKey": "metric", "yAxisExpressions": [], "useGlobalXaxisKey": True,
    }  # fmt: skip


def _no_chart(metric: str, section: dict[str, Any]) -> dict[str, Any]:
    """Returns a chart that is taken away: MLflow makes one of its own for every metric that no chart names."""
    return {"type": "BAR", "uuid": metric, "metricSectionId": section["uuid"], "metricKey": metric, "deleted": True}


def _without_chart(plan: SearchPlan) -> list[str]:
    """Returns the metrics of trials that need no chart of their own; members have some of each split besides."""
    of_task = TASKS[plan.task].metrics
    splits = [f"{split}.{name}" for split in ("selection", *plan.counts.report) for name in of_task]
    return ["score_error", "seconds", "parameters", "log10_parameters", "selection.error", *of_task, *splits]


def keep_view(client: Any, experiment: str, search_id: str, plan: SearchPlan) -> str:
    """Keeps a search's view as a tag of its experiment and returns the path that opens it, from `#` on."""
    client.set_experiment_tag(experiment, "mlflow.experimentKind", "custom_model_development")  # training, not GenAI
    client.set_experiment_tag(
        experiment, f"{TAG}{search_id}", json.dumps(view_state(search_id, plan), separators=(",", ":"))
    )
    return f"#/experiments/{experiment}/runs?viewStateShareKey={search_id}&compareRunsMode=CHART"


def full_link(address: str, path: str) -> str:
    """Returns the whole link, without a password: on the tracking server, or on `make ui` for a local database."""
    base = shown_address(address).rstrip("/") if address.startswith(("http://", "https://")) else _UI
    return f"{base}/{path}"
