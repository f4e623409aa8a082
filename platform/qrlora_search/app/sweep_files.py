"""A sweep's report as Markdown, HTML and a picture. All draw the one `SweepReport`."""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qrlora_search.app.plot_data import CONTROL_X, TICKS
from qrlora_search.app.report_files import write_atomically
from qrlora_search.app.sweep_compare import Line, SweepReport
from qrlora_search.app.sweep_fronts import Snapshot

NAMES = ("report.json", "report.md", "report.html", "report.png")
_HEAD = ("search", "verdict", "best now", "best last time", "difference of the best", "hypervolume", "members",
         "configurations", "time")  # fmt: skip


def headline(report: SweepReport) -> str:
    """Returns one sentence: how many got better, worse, failed."""
    better = sum(one.verdict == "better" for one in report.lines)
    return (
        f"{len(report.lines)} searches: {better} told apart as better, {len(report.regressions)} regressions, "
        f"{report.rises} fronts with a larger hypervolume (not tested), {len(report.failures)} failures, "
        f"{report.seconds / 60:.1f} min"
    )


def markdown(report: SweepReport) -> str:
    """Returns the report as Markdown."""
    rows = ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    rows += ["| " + " | ".join(cell.replace("|", "/") for cell in _cells(line)) + " |" for line in report.lines]
    news, failures = ([f"- {one}" for one in items] for items in (_news(report), _failures(report)))
    parts = [f"# Sweep {report.name}, {report.slot}", headline(report), "\n".join(rows)]
    parts += ["## New members of fronts", "\n".join(news) or "none"] if report.base else []
    parts += ["## Where", "\n".join(f"- {one}" for one in _places(report)) or "none"]
    parts += ["## Failures", "\n".join(failures) or "none", "## Notes", "\n".join(f"- {one}" for one in report.notes)]
    return "\n\n".join(parts) + "\n"


def _news(report: SweepReport) -> list[str]:
    return [f"{line.key}: {member}" for line in report.lines for member in line.new_members]


def _places(report: SweepReport) -> list[str]:
    """Returns where each search lies: one that was skipped or deepened with the run that began it."""
    return [f"{line.key}: {line.folder}/front.html" for line in report.lines if line.best]


def _failures(report: SweepReport) -> list[str]:
    """Returns the searches that failed, and how many trials did in others."""
    found = [f"{line.key}: {line.reason}" for line in report.failures]
    return found + [f"{line.key}: {line.failed_trials} trials failed" for line in report.lines if line.failed_trials]


def _cells(line: Line) -> tuple[str, ...]:
    difference = ""
    if line.difference is not None:
        one = line.difference
        held = "" if one.holm_level is None else f", Holm at {one.holm_level:.4g}"
        tested = f"{one.split}, n = {one.n}, p = {one.p:.3g}{held}"
        difference = f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}] ({tested})"
    verdict = f"{line.verdict}: {line.why}" if line.why else line.verdict
    name = line.key + (" STAND-IN" if line.stand_in else "")
    best = f"{line.best}; control {line.control}" if line.best else line.reason
    return (name, verdict, best, line.best_before, difference, _areas(line), _members(line),
            f"{line.configurations} ({line.state})", f"{line.seconds:.0f} s")  # fmt: skip


def _members(line: Line) -> str:
    new = f", {len(line.new_members)} new" if line.new_members else ""
    return f"{line.members}{new}" if line.best else ""


def _areas(line: Line) -> str:
    """Returns both fronts' hypervolumes with their intervals, and above one reference."""
    if line.volume is None or line.volume_before is None:
        return line.area
    one = f"above one control {line.volume:.5f}, last time {line.volume_before:.5f}"
    return f"{line.area}; last time {line.area_before}; {one}"


def page(report: SweepReport, picture: bytes) -> str:
    """Returns the report as one HTML file that needs nothing else."""

    def row(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    def points(items: list[str]) -> str:
        return "<ul>" + "".join(f"<li>{html.escape(one)}</li>" for one in items or ["none"]) + "</ul>"

    title = html.escape(f"Sweep {report.name}, {report.slot}")
    body = [
        f"<h1>{title}</h1><p>{html.escape(headline(report))}</p>",
        "<table>" + row(_HEAD, "th") + "".join(row(_cells(line), "td") for line in report.lines) + "</table>",
        f'<img alt="fronts" src="data:image/png;base64,{base64.b64encode(picture).decode()}">',
        "<h2>New members of fronts</h2>" + points(_news(report)) if report.base else "",
        "<h2>Where</h2>" + points(_places(report)),
        "<h2>Failures</h2>" + points(_failures(report)),
        "<h2>Notes</h2>" + points(report.notes),
    ]
    style = ("body{font:14px sans-serif;margin:2em;max-width:110em}table{border-collapse:collapse}"
             "td,th{border:1px solid #bbb;padding:4px 8px;text-align:left;vertical-align:top}"
             "img{max-width:100%}")  # fmt: skip
    head = f'<meta charset="utf-8"><title>{title}</title><style>{style}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(body)}</body></html>\n"


def picture_of(now: Mapping[str, Snapshot], before: Mapping[str, Snapshot]) -> bytes:
    """Returns a PNG: for every search its front now and last time, with 95 % intervals on the selection split."""
    from matplotlib.figure import Figure

    columns = min(4, max(1, len(now)))
    rows = max(1, -(-len(now) // columns))
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    for place, (key, snapshot) in enumerate(now.items()):
        _panel(figure.add_subplot(rows, columns, place + 1), key, snapshot, before.get(key))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()


def _panel(axes: Any, key: str, snapshot: Snapshot, before: Snapshot | None) -> None:
    """Draws a search's fronts as steps from their controls; they differ in mark and line as well as in colour."""
    widest = 10.0
    drawn = ((before, "0.55", "last time", "s", ":", 0.93), (snapshot, "C0", "now", "o", "-", 1.0))
    for one, colour, name, mark, line, beside in drawn:
        if one is None or not one.view.members:
            continue
        members, start = one.view.members, one.view.better_control.selection.score
        scores = [member.selection.score for member in members]
        below = [score - member.selection.low for score, member in zip(scores, members, strict=True)]
        above = [member.selection.high - score for score, member in zip(scores, members, strict=True)]
        sizes = [beside * member.parameters for member in members]
        axes.step([CONTROL_X, *sizes], [start, *scores], where="post", color=colour, linestyle=line, linewidth=1.2)
        axes.errorbar(sizes, scores, yerr=[below, above], fmt=mark, color=colour, elinewidth=1, capsize=2, label=name)
        widest = max(widest, *sizes)
    control = snapshot.view.better_control.selection
    axes.plot([CONTROL_X], [control.score], "D", color="black", markerfacecolor="none", label="control (no adapter)")
    axes.axhline(control.score, color="0.3", linestyle="--", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(list(TICKS), list(TICKS.values()), fontsize=7)
    axes.minorticks_off()
    axes.set_xlim(0.6 * CONTROL_X, 2 * widest)
    axes.set_title(key + (" STAND-IN" if snapshot.view.stand_in else ""), fontsize=9)
    axes.set_xlabel("adapter parameters (log scale)", fontsize=8)
    axes.set_ylabel(f"{snapshot.view.objective} on selection, n = {control.n}, 95 %", fontsize=8)
    axes.legend(fontsize=7)


def write_report(folder: Path, report: SweepReport, now: Mapping[str, Snapshot], before: Mapping[str, Snapshot]) -> str:
    """Writes the report's files into a sweep's folder and returns the Markdown."""
    picture, text = picture_of(now, before), markdown(report)
    contents = (report.model_dump_json(indent=1).encode(), text.encode(), page(report, picture).encode(), picture)
    for name, content in zip(NAMES, contents, strict=True):
        write_atomically(folder / name, content)
    return text
