"""Compares searches: groups what was scored on the same examples, says what cannot be compared, writes it all."""

import hashlib
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from rich.console import Console

from qrlora_search.adapters.mlflow_sink.address import tracking_address
from qrlora_search.app.compare_console import show_comparison
from qrlora_search.app.compare_drawing import comparison_html, comparison_png
from qrlora_search.app.compare_fronts import Compared, by_task, compare_group
from qrlora_search.app.compare_importance import compare_importance
from qrlora_search.app.compare_loading import Loader
from qrlora_search.app.compare_settings import compare_settings
from qrlora_search.app.compare_view import Comparison
from qrlora_search.app.report_files import write_atomically
from qrlora_search.app.views.importance import LEAST
from qrlora_search.record.storage import has_record
from qrlora_search.values.errors import SinkError, UserError
from qrlora_search.values.secrets import shown_address

NOTES = [
    "Fronts are those by further seeds where every search of a group is confirmed; else of Finished trials by the "
    "scores that brought them in, which flatter them.",
    "Intervals are 95 %, over examples and further seeds, and over warm-ups where a search has several, else for its "
    "one; differences are on the same resamples of the examples. Where two searches stand on different warm-ups, what "
    "these differ by is in the difference.",
    "Hypervolume: area in score x log10(1 + parameters) above the lowest control of the group, left of P; "
    "each search's own control is its point of 0 parameters.",
    "Setting: the share of the searches' area that its Finished trials alone reach, with a bootstrap over trials. "
    "Thirds are of each search's own range, of learning rates on a log scale.",
    "Importance: PED-ANOVA's shares over a task's Finished trials, scores as gains over each search's own control; "
    "the mean is over tasks with at least 30 of them.",
]


def compare_searches(searches: list[Compared], left_out: Sequence[str] = ()) -> Comparison:
    """Returns the comparison of searches: those on the same examples form a group. left_out: not read, and why."""
    groups: dict[tuple[object, ...], list[Compared]] = {}
    for one in searches:
        groups.setdefault(_examples(one), []).append(one)
    found = list(groups.values())
    stand_in = [one.name for one in searches if one.view.plan.stand_in]
    notes = [f"STAND-IN data, not GLUE: {', '.join(stand_in)}", *NOTES] if stand_in else list(NOTES)
    importance = compare_importance(searches)
    if not importance:
        counts = (f"{task} {sum(len(one.finished) for one in group)}" for task, group in by_task(searches).items())
        notes.append(f"what buys accuracy: too few Finished trials, {LEAST} needed of one task ({', '.join(counts)})")
    return Comparison(
        groups=[compare_group(group) for group in found],
        settings=compare_settings(searches),
        importance=importance,
        not_compared=[*left_out, *(_reason(a[0], b[0]) for a, b in combinations(found, 2))],
        notes=notes,
    )


def _examples(one: Compared) -> tuple[object, ...]:
    """Returns what makes two searches' selection splits the same examples."""
    plan = one.view.plan
    return plan.task, plan.data.kind, plan.data.fingerprint, plan.train_limit, one.view.labels


def _reason(a: Compared, b: Compared) -> str:
    """Returns why the fronts of two groups cannot be compared, by one search of each."""
    one, other = a.view.plan, b.view.plan
    names = f"{a.name} and {b.name}"
    if one.task != other.task:
        return f"{names}: other tasks ({one.task}, {other.task}); their fronts are not compared, their settings are"
    if one.data.kind != other.data.kind or one.data.fingerprint != other.data.fingerprint:
        return f"{names}: other data ({one.data.name}, {other.data.name}); search both on the same data"
    if one.train_limit != other.train_limit:
        limits = f"{one.train_limit or 'none'}, {other.train_limit or 'none'}"
        return f"{names}: other selection splits (--train-limit {limits}); search both with the same limit"
    return f"{names}: other selection splits ({one.counts.selection}, {other.counts.selection} rows)"


def compare(names: list[str], output: str | None, tracking_uri: str | None, console: Console) -> int:
    """Loads, compares, shows, writes and keeps a comparison; returns the exit code."""
    address = tracking_address(tracking_uri, Path("runs"))
    loader = Loader(address)
    try:
        searches = loader.load(names)
        folder = _folder(searches, output)
        comparison = compare_searches(searches, loader.left_out)
        show_comparison(console, comparison)
        files = _write(comparison, folder)
        console.print(f"files: {folder}/" + ", ".join(path.name for path in files), no_wrap=True, soft_wrap=True)
        _keep(comparison, loader, files, console)
    finally:
        loader.close()
    return 0


def _folder(searches: list[Compared], output: str | None) -> Path:
    ids = "-".join(sorted(one.view.search_id for one in searches))
    folder = Path(output) if output else Path("runs") / f"compare-{hashlib.sha256(ids.encode()).hexdigest()[:10]}"
    if has_record(folder):
        raise UserError(f"--output {str(folder)!r} is a search's output; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {str(folder)!r} cannot be written: {error.strerror}; name another folder") from None
    return folder


def _write(comparison: Comparison, folder: Path) -> list[Path]:
    contents = {
        "compare.json": comparison.model_dump_json(indent=1).encode(),
        "compare.png": comparison_png(comparison),
        "compare.html": comparison_html(comparison).encode(),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def _keep(comparison: Comparison, loader: Loader, files: list[Path], console: Console) -> None:
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    for group in comparison.groups:
        for number, line in enumerate(group.searches):
            metrics[f"{group.task}.{number}.hypervolume"] = line.hypervolume
            tags[f"{group.task}.{number}"] = f"{line.name}, search {line.search_id}"
        for pair in group.pairs:
            if pair.difference is not None:
                places = [[one.name for one in group.searches].index(name) for name in (pair.first, pair.second)]
                metrics[f"{group.task}.{places[0]}_minus_{places[1]}.hypervolume"] = pair.difference
    name = "compare " + ", ".join(sorted({group.title for group in comparison.groups}))
    try:
        run = loader.store.keep(name, metrics, tags, files)
        console.print(f"MLflow run {run} at {shown_address(loader.tracking_uri)}", no_wrap=True, soft_wrap=True)
    except (SinkError, UserError) as error:
        console.print(f"not kept in MLflow ({error}); the files have all of it", markup=False)
