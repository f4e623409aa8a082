"""A pytest plugin: on a CI machine (``CI`` set) a skipped test is a failure, but for what the machine cannot have.

Two reasons are accepted, and the reason has to name them: the real data in ``../shared/glue``, and an accelerator.
"""

import os

import pytest

ACCEPTED = ("../shared/glue", "accelerator")


def forbidden_skips(skips: list[tuple[str, str]]) -> list[str]:
    """Return one line for each (test, reason) whose reason names none of what a CI machine may lack."""
    return [f"{test}: {reason}" for test, reason in skips if not any(word in reason for word in ACCEPTED)]


class SkipRule:
    """Collects what was skipped, and fails the session where a reason is not accepted."""

    def __init__(self) -> None:
        self.skips: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that was skipped when it was set up or run."""
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a whole module that was skipped."""
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            # pytest keeps a skip as (path, line, "Skipped: reason")
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skips.append((report.nodeid, reason))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a session that passed into a failed one where a test was skipped without an accepted reason."""
        if forbidden_skips(self.skips) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the skipped tests that failed the session."""
        lines = forbidden_skips(self.skips)
        if lines:
            terminalreporter.section("skipped tests, which count as failures here")
            for line in lines:
                terminalreporter.write_line(line)


def pytest_configure(config: pytest.Config) -> None:
    """Switch the rule on where ``CI`` is set."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        config.pluginmanager.register(SkipRule(), "skip-rule")
