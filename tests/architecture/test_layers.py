"""The order of the layers, the folders of third parties, and the sizes, on the real tree and on small bad examples."""

from collections.abc import Callable
from pathlib import Path

import pytest

import rules

TREE, PACKAGES = rules.read_sources(Path(__file__).parents[2] / "platform" / "qrlora_search")
NONE: frozenset[str] = frozenset()


def on_the_tree(rule: Callable[..., list[str]]) -> list[str]:
    """Return the rule's complaints on the real package."""
    with_packages = (rules.layer_complaints, rules.library_complaints, rules.cycle_complaints)
    return rule(TREE, PACKAGES) if rule in with_packages else rule(TREE)


@pytest.mark.parametrize(
    "rule",
    [
        rules.layer_complaints,
        rules.library_complaints,
        rules.cycle_complaints,
        rules.size_complaints,
        rules.function_size_complaints,
        rules.argument_complaints,
        rules.broad_except_complaints,
    ],
    ids=lambda rule: rule.__name__,
)
def test_the_package_keeps(rule: Callable[..., list[str]]) -> None:
    assert on_the_tree(rule) == []


def test_the_package_was_found() -> None:
    assert {"", "values"} <= PACKAGES
    assert {layer for layer in rules.LAYERS if layer in TREE} <= PACKAGES


def test_tests_and_launchers_import_the_package_not_platform() -> None:
    root = Path(__file__).parents[2]
    texts = {str(path): path.read_text() for path in sorted((root / "tests").rglob("*.py"))}
    assert {path: found for path, text in texts.items() if (found := rules.platform_submodules(text))} == {}


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("values.fronts", "from qrlora_search.describe import tasks"),
        ("values.fronts", "def f():\n    import qrlora_search.app.cli"),
        ("values.fronts", "from ..describe.tasks import Task"),
        ("describe.plan", "from qrlora_search import method"),
        ("record.events", "from qrlora_search.adapters.ray_engine import engine"),
        ("adapters.ray_engine.engine", "from qrlora_search.adapters.optuna_search.study import Study"),
        ("adapters.ray_engine.engine", "from ..mlflow_sink import sink"),
        ("adapters.ray_engine.engine", "from qrlora_search.app import search"),
        ("extra", "import os"),
    ],
)
def test_an_import_from_a_later_layer_or_a_sibling_is_seen(module: str, text: str) -> None:
    assert len(rules.layer_complaints({module: text}, NONE)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("describe.plan", "from qrlora_search.values import errors\nfrom . import tasks\nimport numpy"),
        ("app.search", "from qrlora_search.adapters.ray_engine.engine import Engine"),
        ("adapters.ray_engine.engine", "from .trainable import Trainable\nfrom qrlora_search.record import events"),
        ("", "from importlib.metadata import version"),
    ],
)
def test_an_import_from_an_earlier_layer_is_fine(module: str, text: str) -> None:
    assert rules.layer_complaints({module: text}, NONE) == []


def test_a_relative_import_in_a_package_starts_at_the_package() -> None:
    found = list(rules.imports("values", "from .fronts import Front\nfrom .. import record", frozenset({"values"})))
    assert found == ["qrlora_search.values.fronts.Front", "qrlora_search.record"]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("app.search", "import ray"),
        ("adapters.optuna_search.study", "from ray.tune import Tuner"),
        ("adapters.ray_engine_extra", "import ray"),
        ("record.events", "def f():\n    import optuna"),
        ("app.ui", "from mlflow.server import app"),
        ("values.fronts", "import torch"),
        ("app.search", "from platform import search"),
        ("app.search", "import platform.search"),
        ("app.search", "from platform.qrlora_search import values"),
    ],
)
def test_a_library_in_the_wrong_place_is_seen(module: str, text: str) -> None:
    assert len(rules.library_complaints({module: text}, NONE)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("adapters.ray_engine", "import ray"),
        ("adapters.ray_engine.engine", "from ray import tune"),
        ("values.fronts", "import math\nimport numpy as np\nfrom .errors import UserError"),
        ("app.banner", "import platform\nfrom platform import python_version"),
    ],
)
def test_a_library_in_its_place_is_fine(module: str, text: str) -> None:
    assert rules.library_complaints({module: text}, NONE) == []


def test_a_cycle_is_seen_and_named() -> None:
    cycle = {
        "values.a": "from .b import x",
        "values.b": "def f():\n    from qrlora_search.values import c",
        "values.c": "import qrlora_search.values.a",
        "values": "",
    }
    assert rules.cycle_complaints(cycle, frozenset({"values"})) == ["values.a -> values.b -> values.c -> values.a"]
    cycle["values.c"] = ""
    assert rules.cycle_complaints(cycle, frozenset({"values"})) == []


def test_a_package_that_imports_its_own_module_back_is_a_cycle() -> None:
    sources = {"values": "from .a import x", "values.a": "from qrlora_search.values import x"}
    assert rules.cycle_complaints(sources, frozenset({"values"})) == ["values -> values.a -> values"]


def test_sizes_of_modules() -> None:
    assert rules.size_complaints({"a": "x = 1\n" * 351, "b": "x = 1\n", "c": "x = 1\n"}) == ["a: 351 lines"]
    assert rules.size_complaints({"a": "x = 1\n" * 150, "b": ""}) == ["the median module has 150 lines"]
    assert rules.size_complaints({"a": "x = 1\n" * 350, "b": "x = 1\n", "c": "x = 1\n"}) == []
    assert rules.size_complaints({}) == []


def function(lines: int, name: str = "f") -> str:
    return f"def {name}():\n" + "    x = 1\n" * (lines - 1)


def test_sizes_of_functions() -> None:
    short = "".join(function(29, f"short{number}") for number in range(9))
    assert rules.function_size_complaints({"a": short + function(60)}) == []
    assert rules.function_size_complaints({"a": short + function(61)}) == ["a.f: 61 lines"]
    assert len(rules.function_size_complaints({"a": short + function(30) + function(30, "g")})) == 1
    assert rules.function_size_complaints({"a": "x = 1"}) == []


def test_numbers_of_arguments() -> None:
    seven, six = "def f(a, b, c, /, d, e, *, g, h): ...", "class A:\n    def f(self, a, b, c, d, e, g): ..."
    assert rules.argument_complaints({"values.a": seven}) == ["values.a.f: 7 arguments"]
    assert rules.argument_complaints({"values.a": six, "app.cli": seven, "app.cli_compare": seven}) == []


@pytest.mark.parametrize("kind", ["", " Exception", " BaseException as error", " (ValueError, Exception)"])
def test_a_broad_except_is_seen_unless_it_raises(kind: str) -> None:
    hidden = f"try:\n    pass\nexcept{kind}:\n    print(1)"
    assert rules.broad_except_complaints({"app.a": hidden}) == ["app.a:3: a broad except that does not raise"]
    assert rules.broad_except_complaints({"app.a": f"{hidden}\n    if x:\n        raise"}) != []
    assert rules.broad_except_complaints({"app.a": f"{hidden}\n    raise"}) == []


def test_a_narrow_except_is_fine() -> None:
    assert rules.broad_except_complaints({"app.a": "try:\n    pass\nexcept (ValueError, OSError):\n    pass"}) == []
