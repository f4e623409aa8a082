"""The rules of the architecture, as functions from sources to complaints: an empty list is a pass.

``sources`` maps a module's dotted name below ``qrlora_search`` (``values.fronts``, ``adapters.ray_engine.engine``; a
package is named without ``__init__``) to its text.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

PACKAGE = "qrlora_search"
LAYERS = ("values", "describe", "method", "prepare", "record", "adapters", "app")
ONLY_IN = {"ray": "adapters.ray_engine", "optuna": "adapters.optuna_search", "mlflow": "adapters.mlflow_sink"}
Sources = Mapping[str, str]
Function = ast.FunctionDef | ast.AsyncFunctionDef

MOST_LINES, MEDIAN_LINES = 350, 150
MOST_FUNCTION_LINES, USUAL_FUNCTION_LINES = 60, 30
MOST_ARGUMENTS = 6


def read_sources(package: Path) -> tuple[dict[str, str], frozenset[str]]:
    """Return every module's text by its name, and the names that are packages."""
    texts, packages = {}, set()
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
            packages.add(".".join(parts))
        texts[".".join(parts)] = path.read_text(encoding="utf-8")
    return texts, frozenset(packages)


def imports(name: str, text: str, packages: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield what a module imports, wherever in the file, as absolute names (``from a import b`` gives ``a.b``)."""
    here = [PACKAGE, *filter(None, name.split("."))]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = here[: len(here) - node.level + (name in packages)] if node.level else []
            base = ".".join([*folder, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def inside(imported: str) -> str | None:
    """Return the part of an imported name below the package, or None for another library's."""
    head, _, rest = imported.partition(".")
    return rest if head == PACKAGE else None


def layer_complaints(sources: Sources, packages: frozenset[str]) -> list[str]:
    """A file imports only from its own layer or an earlier one; an adapter does not import its sibling."""
    complaints = []
    for name, text in sources.items():
        parts = name.split(".")
        if parts[0] not in LAYERS:
            if name:
                complaints.append(f"{name}: in no layer; put it into one of {', '.join(LAYERS)}")
            continue
        for imported in filter(None, map(inside, imports(name, text, packages))):
            target = imported.split(".")
            if target[0] not in LAYERS:
                continue
            later = LAYERS.index(target[0]) > LAYERS.index(parts[0])
            sibling = parts[0] == target[0] == "adapters" and parts[1:] and parts[1:2] != target[1:2]
            if later or sibling:
                complaints.append(f"{name}: imports {imported}")
    return complaints


def library_complaints(sources: Sources, packages: frozenset[str]) -> list[str]:
    """One folder imports each of ray, optuna and mlflow; values only numpy; nothing a submodule of platform."""
    complaints = []
    for name, text in sources.items():
        for imported in imports(name, text, packages):
            head = imported.split(".")[0]
            owner = ONLY_IN.get(head)
            if owner and not f"{name}.".startswith(f"{owner}."):
                complaints.append(f"{name}: imports {head}, which only {owner} may")
            if name.split(".")[0] == "values" and head not in {PACKAGE, "numpy", *sys.stdlib_module_names}:
                complaints.append(f"{name}: imports {head}; values knows numpy and the standard library only")
        complaints += [f"{name}: imports {found}" for found in platform_submodules(text)]
    return complaints


def platform_submodules(text: str) -> list[str]:
    """Return the launchers that a file imports; what the standard module defines may be imported."""
    launchers = {path.stem for path in Path(__file__).parents[2].glob("platform/*.py")} | {PACKAGE}
    found = [imported for imported in imports("", text) if imported.split(".")[0] == "platform"]
    return [imported for imported in found if imported.split(".")[1:2] and imported.split(".")[1] in launchers]


def cycle_complaints(sources: Sources, packages: frozenset[str]) -> list[str]:
    """No module imports itself through others."""
    graph = {name: _modules_imported(name, text, sources, packages) for name, text in sources.items()}
    complaints, done = [], set[str]()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            complaints.append(" -> ".join((*path[path.index(name) :], name)))
        elif name not in done:
            for target in sorted(graph[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    return complaints


def _modules_imported(name: str, text: str, sources: Sources, packages: frozenset[str]) -> set[str]:
    targets = set()
    for imported in map(inside, imports(name, text, packages)):
        if imported is None:
            continue
        target = imported if imported in sources else imported.rpartition(".")[0]
        if target in sources and target != name:
            targets.add(target)
    return targets


def size_complaints(sources: Sources) -> list[str]:
    """No module over 350 lines, and half of those with code under 150."""
    lines = {name: len(text.splitlines()) for name, text in sources.items() if text.strip()}
    complaints = [f"{name}: {count} lines" for name, count in lines.items() if count > MOST_LINES]
    if lines and median(lines.values()) >= MEDIAN_LINES:
        complaints.append(f"the median module has {median(lines.values()):.0f} lines")
    return complaints


def functions(text: str) -> list[Function]:
    """Return every function and method of a file."""
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, Function)]


def function_size_complaints(sources: Sources) -> list[str]:
    """No function over 60 lines, and 9 in 10 under 30."""
    sizes = [
        (f"{name}.{function.name}", (function.end_lineno or function.lineno) - function.lineno + 1)
        for name, text in sources.items()
        for function in functions(text)
    ]
    complaints = [f"{name}: {count} lines" for name, count in sizes if count > MOST_FUNCTION_LINES]
    long = [f"{name} ({count})" for name, count in sizes if count >= USUAL_FUNCTION_LINES]
    if 10 * len(long) > len(sizes):
        complaints.append(f"{len(long)} of {len(sizes)} functions have 30 lines or more: {', '.join(long)}")
    return complaints


def argument_complaints(sources: Sources) -> list[str]:
    """At most 6 arguments, self aside; the command functions in app/cli*.py have one an option."""
    return [
        f"{name}.{function.name}: {count} arguments"
        for name, text in sources.items()
        if not name.startswith("app.cli")
        for function in functions(text)
        if (count := _argument_count(function)) > MOST_ARGUMENTS
    ]


def _argument_count(function: Function) -> int:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def broad_except_complaints(sources: Sources) -> list[str]:
    """An ``except`` for everything raises again."""
    return [
        f"{name}:{handler.lineno}: a broad except that does not raise"
        for name, text in sources.items()
        for handler in ast.walk(ast.parse(text))
        if isinstance(handler, ast.ExceptHandler) and _is_broad(handler.type) and not _raises(handler.body)
    ]


def _is_broad(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(map(_is_broad, kind.elts))
    return kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))


def _raises(body: list[ast.stmt]) -> bool:
    """Return whether the handler itself ends in a raise; one on some paths only hides the others' failures."""
    return isinstance(body[-1], ast.Raise)
