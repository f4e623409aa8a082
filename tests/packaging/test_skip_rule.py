"""The rule that a CI machine skips nothing by accident, on a small suite of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skip_rule import forbidden_skips


def run_suite(folder: Path, body: str, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_small.py").write_text(f"import pytest\n{body}\n")
    tests = Path(__file__).resolve().parent.parent
    environment = os.environ | {"CI": ci, "PYTHONPATH": str(tests)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "skip_rule", "-p", "no:cacheprovider", "--rootdir", "."]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


SKIPPED_TEST = "def test_one():\n    pytest.skip({reason!r})"
SKIPPED_MODULE = "pytest.skip({reason!r}, allow_module_level=True)"
SKIPPED_BY_MARK = "@pytest.mark.skip(reason={reason!r})\ndef test_one():\n    pass"
FORMS = pytest.mark.parametrize("form", [SKIPPED_TEST, SKIPPED_BY_MARK])


@FORMS
def test_ci_fails_on_an_unexplained_skip(tmp_path: Path, form: str) -> None:
    result = run_suite(tmp_path, form.format(reason="not today"), ci="true")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    assert "not today" in result.stdout


def test_ci_fails_on_a_skipped_module_beside_a_passing_one(tmp_path: Path) -> None:
    (tmp_path / "test_passes.py").write_text("def test_passes():\n    pass\n")
    result = run_suite(tmp_path, SKIPPED_MODULE.format(reason="no such library"), ci="true")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout


@FORMS
@pytest.mark.parametrize("reason", ["the real data is not in ../shared/glue", "needs an accelerator"])
def test_ci_accepts_what_a_machine_may_lack(tmp_path: Path, form: str, reason: str) -> None:
    assert run_suite(tmp_path, form.format(reason=reason), ci="true").returncode == pytest.ExitCode.OK


@pytest.mark.parametrize("ci", ["", "false", "0"])
def test_elsewhere_a_skip_is_a_skip(tmp_path: Path, ci: str) -> None:
    assert run_suite(tmp_path, SKIPPED_TEST.format(reason="not today"), ci).returncode == pytest.ExitCode.OK


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    body = "@pytest.mark.xfail(strict=True)\ndef test_one():\n    assert False"
    assert run_suite(tmp_path, body, ci="true").returncode == pytest.ExitCode.OK


def test_only_the_offenders_are_named() -> None:
    skips = [("a", "Skipped: no accelerator"), ("b", "Skipped: tired"), ("c", "Skipped: ../shared/glue is not here")]
    assert forbidden_skips(skips) == ["b: Skipped: tired"]
