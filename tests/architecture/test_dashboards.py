"""The explorer reads front views and MLflow only: none of its scripts imports an inner layer."""

import ast
from pathlib import Path

import pytest

import rules

FOLDER = Path(__file__).parents[2] / "dashboards"
ALLOWED = ("app.front_view",)
"""Modules of the package that a dashboard may import: the form of a front view."""


def complaints(text: str) -> list[str]:
    """Return what a dashboard imports of the package beyond front views."""
    found = [inside for one in rules.imports("", text) if (inside := rules.inside(one)) is not None]
    return [one for one in found if not any(f"{one}.".startswith(f"{allowed}.") for allowed in ALLOWED)]


def test_dashboards_read_front_views_and_mlflow_only():
    scripts = sorted(FOLDER.glob("*.py"))
    assert {path.stem for path in scripts} >= {"explorer", "exploring_data", "exploring_figures"}
    assert {path.name: found for path in scripts if (found := complaints(path.read_text()))} == {}


def test_dashboards_hold_to_the_sizes_too():
    sources = {path.stem: path.read_text() for path in FOLDER.glob("*.py")}
    for rule in (rules.function_size_complaints, rules.argument_complaints, rules.broad_except_complaints):
        assert rule(sources) == []
    assert all(len(text.splitlines()) <= rules.MOST_LINES for text in sources.values())
    assert all(ast.get_docstring(ast.parse(text)) for text in sources.values())


@pytest.mark.parametrize("module", ["record.history", "values.fronts", "adapters.mlflow_sink.sink"])
def test_an_inner_layer_is_seen(module):
    assert complaints(f"from qrlora_search.{module} import x") == [f"{module}.x"]
    assert complaints("from qrlora_search.app.front_view import FrontView") == []
