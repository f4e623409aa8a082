"""The page of findings says how each task was measured, by a command that asks for the same, and what a task lacks."""

import json

import numpy as np
import pytest
from tests.benchmarks import findings_report
from tests.benchmarks.findings import EMBEDDED, SEARCHES, main_rows, other_spaces
from tests.benchmarks.findings_fronts import FORMS
from tests.benchmarks.findings_report import Answer, Kept, fewer

from qrlora_search.describe.presets import paper_space
from qrlora_search.describe.space import SearchSpace
from qrlora_search.values.intervals import Interval
from qrlora_search.values.packing import pack

PACKED = pack(np.array([0, 1, 1]))
FACTS = {
    "task": "rte", "stand_in": False, "model": EMBEDDED, "train_rows": 600, "split": "validation", "seeds": 5,
    "precision": "float32",
}  # fmt: skip


def kept(tmp_path, seeds, searches=SEARCHES, **facts: object):
    """Return a task's table with a row for each search."""
    rows = {SEARCHES[one]: {str(seed): {"parameters": 9, "packed": PACKED} for seed in seeds} for one in searches}
    content = {"facts": {**FACTS, **facts}, "labels": PACKED, "controls": dict.fromkeys(map(str, seeds), PACKED)}
    (tmp_path / "kept.json").write_text(json.dumps({**content, "rows": rows}))
    return Kept(tmp_path / "kept.json")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seeds": range(8)}, ['--task rte --data "$GLUE" --train-limit 600 --seeds 8']),
        (
            {"seeds": range(5), "searches": ["main", "tilted"]},
            ['--task rte --data "$GLUE" --train-limit 600 --only main tilted --seeds 5'],
        ),
        (
            {"seeds": [2, 3, 4, 10], "stand_in": True, "model": "mine"},
            [
                "--task rte --data stand-in --model mine --train-limit 600 --seeds 3 --first-seed 2",
                "--task rte --data stand-in --model mine --train-limit 600 --seeds 1 --first-seed 10",
            ],
        ),
    ],
)
def test_the_command_above_a_table_asks_for_its_rows_seeds_and_searches(tmp_path, given, words):
    table = kept(tmp_path, **given)
    commands = [f"python -m tests.benchmarks.findings {one}" for one in words]
    assert table.commands() == commands
    lines = table.section([])
    assert lines[2 : 2 + len(commands)] == [f"    {one}" for one in commands]


def test_each_search_is_known_by_a_configuration_that_it_alone_trains():
    space = paper_space(SearchSpace())
    rows = {name: one for name, _, one in other_spaces(space, 6, lambda *_: 100)} | {"main": main_rows(space, 6)}
    assert {name: [one for one in rows if SEARCHES[name] in rows[one]] for name in rows} == {
        name: [name] for name in SEARCHES
    }


def answers(many, seeds=8, fronts=True):
    names = [*(f"question {place}" for place in range(many - len(FORMS) * fronts)), *(FORMS if fronts else [])]
    return [Answer(one, Interval(0.0, 0.1, -0.2, 0.2, 9), 1.0, False, ("9", "0"), seeds) for one in names]


def test_what_a_task_lacks_is_said_and_a_whole_one_is_not_named(tmp_path):
    table = kept(tmp_path, range(5))
    assert fewer([(table, answers(25))]) == []
    assert fewer([(table, answers(22, 5, fronts=False))]) == [
        "rte answers 22 of the 25 questions (its fronts were not measured), all of them from fewer than the 8 seeds "
        "that a claim needs."
    ]
    assert fewer([(table, [*answers(22), *answers(3, 5, fronts=False)])]) == [
        "rte answers 25 of the 25 questions, 3 of them from fewer than the 8 seeds that a claim needs."
    ]


def test_the_page_that_is_kept_has_each_tasks_own_command_and_says_what_rte_lacks():
    text = (findings_report.ROOT / "docs" / "findings.md").read_text()
    for file in sorted(findings_report.HERE.glob("*.json")):
        for command in Kept(file).commands():
            assert f"\n    {command}\n" in text
    assert "rte answers 22 of the 25 questions" in " ".join(text.split())
