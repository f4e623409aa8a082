"""docs/findings.md and its picture, from the tables that `findings` keeps.

    python -m tests.benchmarks.findings_report

Every question is a paired difference on the report split, with a 95 % interval over seeds and examples at once. Within
a task the questions are one family, by Holm's rule at 5 %: what is not rejected is 'not told apart'.
"""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.benchmarks.findings import EMBEDDED, FIRST, FRONT, HEAD, HERE, MATCHED_RANDOM, MATCHED_SVD, SEARCHES
from tests.benchmarks.findings_fronts import FORMS, moved

from qrlora_search.app.over_seeds import difference_and_p, score_over_seeds
from qrlora_search.describe.tasks import find_task
from qrlora_search.values.holm import holm_levels
from qrlora_search.values.intervals import Interval
from qrlora_search.values.packing import unpack

ROOT = Path(__file__).resolve().parents[2]
CONTROL = "the control"
LEVEL = 0.05
LEAST_SEEDS = 8
"""Fewer seeds show intervals, and claim nothing."""
QUESTIONS = (
    ("Does pivoted QR beat the control?", FIRST, CONTROL),
    ("Does pivoted QR beat the SVD at equal counts?", FIRST, "SVD in place of QR"),
    ("Does pivoted QR beat a random basis at equal counts?", FIRST, "random basis in place of QR"),
    ("The same with steps as large: the SVD at 0.02", FIRST, MATCHED_SVD),
    ("The same with steps as large: the random basis at 0.02", FIRST, MATCHED_RANDOM),
    ("tau: 0.25 against 0.5", "tau 0.25", FIRST),
    ("tau: 0.75 against 0.5", "tau 0.75", FIRST),
    ("Learning rate: 0.003 against 0.01", "lr 0.003", FIRST),
    ("Learning rate: 0.03 against 0.01", "lr 0.03", FIRST),
    ("Learning rate: 0.1 against 0.01", "lr 0.1", FIRST),
    ("Matrices: Wq against Wq and Wv", "Wq alone", FIRST),
    ("Matrices: Wo against Wq and Wv", "Wo alone", FIRST),
    ("Matrices: all four against Wq and Wv", "all four matrices", FIRST),
    ("Layers: the last against the last third", "the last layer alone", FIRST),
    ("Layers: all against the last third", "all layers", FIRST),
    ("Head: trained against frozen", "head trained", FIRST),
    ("Head trained: with the adapter against the head alone", "head trained", HEAD),
    ("Ranks by threshold against by energy, at equal counts", "ranks by threshold", FIRST),
    ("Bases of the warmed-up against the pretrained weights", "bases of the warmed-up weights", FIRST),
    ("Directions by gradient against their order", "directions by gradient", FIRST),
    ("tau per kind: more of Wq, at equal counts", "more of Wq than of Wv", FIRST),
    ("tau per kind: more of Wv, at equal counts", "more of Wv than of Wq", FIRST),
)
HEADING = """# Findings

    python -m tests.benchmarks.findings --task TASK --data "$GLUE" ...    # each task's own command is above its table
    python -m tests.benchmarks.findings_report

One configuration (pivoted QR, Wq and Wv of the last third of the layers, tau 0.5, learning rate 0.01, frozen head,
bases of the pretrained weights) and others that differ from it in one thing, each trained 5 epochs from several
warm-ups. A seed is a warm-up, its own draw of the rows of train and an order of batches. Differences are paired by
seed and example, on the official validation set, which chose nothing here; intervals are 95 %, over seeds and
examples at once (Student's t, `app/over_seeds.py`). **Told apart** is what Holm's rule rejects at 5 % within the
task's questions, with eight seeds at least; an interval may exclude 0 and not be told apart. Each task is a family
of its own: of four tasks without any effect, about one page in five would claim one.

The rows of QR's R have norms of about 2 in these matrices, those of the SVD and of a random basis 1, so that at
equal learning rates QR takes steps twice as large: the first three questions hold the learning rate, the two after
them the steps. The random basis is one draw, the same for all seeds: nothing is said of other draws. All is asked
around that one configuration, on so many rows of train: elsewhere answers may be others.
"""
OF_FRONTS = """The last three questions are of fronts: four configurations of 134 to 642 parameters (tau 0.25, 0.5 and
0.75 of Wq and Wv, 0.5 of all four matrices) in one form against the same in another at nearly equal counts. Their
differences are of hypervolume, score x log10(1 + parameters) over the control of the same warm-up up to the whole
encoder. A front below the control has no area; where no form is above it by more than noise, these differences are
those of the luckiest of four scores, and "not told apart" says little.
"""


@dataclass(frozen=True)
class Answer:
    """A question on one task. told: whether Holm's rule rejects that there is no difference. counts: adapter
    parameters of both sides, as their range over seeds. seeds: that have both sides.
    """

    question: str
    difference: Interval
    p: float
    told: bool
    counts: tuple[str, str]
    seeds: int

    @property
    def enough(self) -> bool:
        """Return whether there are seeds enough for a claim."""
        return self.seeds >= LEAST_SEEDS


class Kept:
    """The table of one task."""

    def __init__(self, file: Path) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        self.facts, self.rows = content["facts"], content["rows"]
        self.task = find_task(self.facts["task"])
        self.labels = unpack(content["labels"])
        control = {seed: {"packed": packed, "parameters": 0} for seed, packed in content["controls"].items()}
        self.rows = {CONTROL: control, **content["rows"]}

    def runs(self, name: str, seeds: list[str]) -> list[Any]:
        """Return a configuration's predictions by seed."""
        return [unpack(self.rows[name][seed]["packed"]) for seed in seeds]

    def counts(self, *names: str) -> str:
        """Return the parameters of configurations, as a range over all of them and seeds."""
        found = sorted({one["parameters"] for name in names for one in self.rows[name].values()})
        return "-".join(f"{one:,}" for one in dict.fromkeys([found[0], found[-1]]))

    def answers(self) -> list[Answer]:
        """Return the answers to the questions that the table can answer."""
        asked = [one for one in QUESTIONS if one[1] in self.rows and one[2] in self.rows]
        found, many, counts = [], [], []
        for _, ours, other in asked:
            seeds = sorted(set(self.rows[ours]) & set(self.rows[other]), key=int)
            many.append(len(seeds))
            mine, theirs = self.runs(ours, seeds), self.runs(other, seeds)
            found.append(difference_and_p(self.task.statistic, self.labels, mine, theirs))
            counts.append((self.counts(ours), self.counts(other)))
        names = [question for question, *_ in asked]
        for question, form in FORMS.items():
            area = moved(self.task.statistic, self.labels, self.rows, CONTROL, form, self.facts["encoder_parameters"])
            if area is not None:
                names.append(question)
                found.append(area[:2])
                many.append(area[2])
                counts.append((self.counts(*form.values()), self.counts(*FRONT)))
        family = [place for place, seeds in enumerate(many) if seeds >= LEAST_SEEDS]  # the others claim nothing
        levels = dict(zip(family, holm_levels([found[place][1] for place in family], LEVEL), strict=True))
        return [
            Answer(names[place], *found[place], levels.get(place) is not None, counts[place], many[place])
            for place in range(len(names))
        ]

    def title(self) -> str:
        """Return the task's heading."""
        facts = self.facts
        kind = " (STAND-IN data, not GLUE)" if facts["stand_in"] else ""
        return (
            f"{facts['task']}{kind}: {facts['model']}, {facts['train_rows']:,} rows of train, {facts['seeds']} seeds, "
            f"{self.task.objective} on {facts['split']} (n = {len(self.labels):,}), {facts['precision']}"
        )

    def commands(self) -> list[str]:
        """Return what trains the kept rows: a command for each run of consecutive seeds."""
        facts, runs = self.facts, list[list[int]]()
        for seed in sorted(map(int, self.rows[CONTROL])):
            if runs and runs[-1][-1] == seed - 1:
                runs[-1].append(seed)
            else:
                runs.append([seed])
        there = [search for search, row in SEARCHES.items() if row in self.rows]
        options = {
            "--task": facts["task"],
            "--data": "stand-in" if facts["stand_in"] else '"$GLUE"',
            "--model": None if facts["model"] == EMBEDDED else facts["model"],
            "--train-limit": facts["train_rows"],
            "--only": None if len(there) == len(SEARCHES) else " ".join(there),
        }
        words = " ".join(f"{option} {value}" for option, value in options.items() if value is not None)
        return [
            f"python -m tests.benchmarks.findings {words} --seeds {len(run)}"
            + (f" --first-seed {run[0]}" if run[0] else "")
            for run in runs
        ]

    def section(self, answers: list[Answer]) -> list[str]:
        """Return the task's part of the page."""
        lines = [f"## {self.title()}", "", *(f"    {one}" for one in self.commands()), ""]
        lines += ["| configuration | adapter parameters | score |", "| --- | --- | --- |"]
        for name in self.rows:
            seeds = sorted(self.rows[name], key=int)
            mean = score_over_seeds(self.task.statistic, self.labels, self.runs(name, seeds))
            few = "" if len(seeds) == self.facts["seeds"] else f" ({len(seeds)} seeds)"
            lines.append(f"| {name}{few} | {self.counts(name)} | {mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}] |")
        lines += ["", "| question | parameters | difference | p | answer |", "| --- | --- | --- | --- | --- |"]
        for one in answers:
            what = one.difference
            words = (
                f"too few seeds for a claim ({one.seeds})"
                if not one.enough
                else ("yes, higher" if what.value > 0 else "yes, lower")
                if one.told
                else "not told apart"
            )
            lines.append(
                f"| {one.question} | {' against '.join(one.counts)} | {what.value:+.3f} [{what.low:+.3f}, "
                f"{what.high:+.3f}] | {one.p:.3g} | {words} |"
            )
        return [*lines, ""]


def overview(tables: list[tuple[Kept, list[Answer]]]) -> list[str]:
    """Return every question with its difference in each task, bold where it is told apart."""
    heads = [f"{kept.facts['task']} ({kept.facts['seeds']} seeds)" for kept, _ in tables]
    lines = [f"| question | {' | '.join(heads)} |", f"| --- {'| --- ' * len(tables)}|"]
    found = [{one.question: one for one in answers} for _, answers in tables]
    for question in [*(question for question, *_ in QUESTIONS), *FORMS]:
        cells = []
        for answers in found:
            one = answers.get(question)
            words = "" if one is None else f"{one.difference.value:+.3f}"
            cells.append(f"**{words}**" if one is not None and one.told else words + (" ~" if words else ""))
        if any(cells):
            lines.append(f"| {question} | {' | '.join(cells)} |")
    words = "Differences in short; ~: not told apart, or too few seeds for a claim."
    return [*textwrap.wrap(" ".join([words, *fewer(tables)]), 117), "", *lines, ""]


def fewer(tables: list[tuple[Kept, list[Answer]]]) -> list[str]:
    """Return a sentence for each task that answers fewer than all questions, or from too few seeds for a claim."""
    most, sentences = len(QUESTIONS) + len(FORMS), []
    for kept, answers in tables:
        few = sum(not one.enough for one in answers)
        if len(answers) == most and not few:
            continue
        words = f"{kept.facts['task']} answers {len(answers)} of the {most} questions"
        if not any(one.question in FORMS for one in answers):
            words += " (its fronts were not measured)"
        if few:
            which = "all" if few == len(answers) else f"{few}"
            words += f", {which} of them from fewer than the {LEAST_SEEDS} seeds that a claim needs"
        sentences.append(f"{words}.")
    return sentences


def draw(tables: list[tuple[Kept, list[Answer]]], path: Path) -> None:
    """Draw every difference with its interval, a panel a task; filled where it is told apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.8 + 0.26 * sum(len(answers) + 3 for _, answers in tables)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tables), 1, squeeze=False)[:, 0]
    for panel, (kept, answers) in zip(panels, tables, strict=True):
        for place, one in enumerate(answers):
            what = one.difference
            bars = np.array([[max(0.0, what.value - what.low)], [max(0.0, what.high - what.value)]])
            panel.errorbar(what.value, place, xerr=bars, fmt="o", color="black", capsize=3,
                           markerfacecolor="black" if one.told else "white")  # fmt: skip
        panel.axvline(0, color="black", linestyle=":", linewidth=1)
        panel.set_yticks(range(len(answers)), [one.question for one in answers], fontsize=8)
        panel.invert_yaxis()
        panel.set_xlabel(f"difference in {kept.task.objective}; 95 % over seeds and examples; filled: told apart")
        panel.set_title(kept.title(), fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Write the page and its picture."""
    tables = [(kept, kept.answers()) for kept in map(Kept, sorted(HERE.glob("*.json")))]
    of_fronts = [OF_FRONTS] if any(one.question in FORMS for _, answers in tables for one in answers) else []
    lines = [HEADING, *of_fronts, *overview(tables), "![differences](pictures/findings.png)", ""]
    for kept, answers in tables:
        lines += kept.section(answers)
    (ROOT / "docs" / "findings.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    (ROOT / "docs" / "pictures").mkdir(exist_ok=True)
    draw(tables, ROOT / "docs" / "pictures" / "findings.png")
    print(f"docs/findings.md: {', '.join(kept.facts['task'] for kept, _ in tables) or 'nothing is kept yet'}")


if __name__ == "__main__":
    main()
