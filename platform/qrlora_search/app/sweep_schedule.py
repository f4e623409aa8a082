"""What a place's own scheduler runs: a crontab line, a systemd timer, or a manifest. Nothing is installed here."""

import shlex
import shutil
import sys
from datetime import datetime
from pathlib import Path

from cronsim import CronSim

from qrlora_search.app.report_files import write_atomically
from qrlora_search.app.sweep_cron import calendar
from qrlora_search.app.sweep_manifests import kubernetes_files
from qrlora_search.app.sweep_record import home_of
from qrlora_search.describe.sweep import Schedule, SweepSpec, load_sweep
from qrlora_search.values.errors import UserError, nearest

FORMS = ("crontab", "systemd", "kubernetes", "kuberay")
HOUR, QUARTERS = 60, (0, 15, 30, 45)


def write_schedule(path: Path, form: str, folder: Path | None, image: str) -> None:
    """Writes the files of a form into a folder, or prints them. Raises UserError without a schedule."""
    spec = load_sweep(path)
    if spec.schedule is None:
        raise UserError(f"{path}: there is no [schedule]; write one with cron and time_zone")
    if form not in FORMS:
        raise UserError(f"--as {form!r} is not known: {nearest(form, FORMS)}use {', '.join(FORMS)}")
    where = path.resolve()
    if form == "crontab":
        files = {f"{spec.name}.crontab": crontab(spec, spec.schedule, where)}
    elif form == "systemd":
        files = systemd(spec, spec.schedule, where)
    else:
        files = kubernetes_files(spec, spec.schedule, where, form, image)
    for name, content in files.items():
        if folder is None:
            sys.stdout.write(content if len(files) == 1 else f"# ---- {name}\n{content}")
        else:
            _write(folder / name, content)
            sys.stdout.write(f"written: {folder / name}\n")


def _write(file: Path, content: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content.encode())
    except OSError as error:
        folder = str(file.parent)
        raise UserError(f"--to {folder!r} cannot be written: {error.strerror}; name a folder that can") from None


def command(where: Path) -> list[str]:
    """Returns the words that run a sweep's newest slot from any folder, by absolute paths: cron has a bare PATH."""
    script = shutil.which("qrlora-search", path=str(Path(sys.executable).parent))
    program = [script] if script else [sys.executable, "-c", "from qrlora_search.app.cli import main; "
                                                            "raise SystemExit(main())"]  # fmt: skip
    return [*program, "sweep", "run", str(where), "--scheduled"]


def crontab(spec: SweepSpec, schedule: Schedule, where: Path) -> str:
    """Returns lines for `crontab`: the schedule's own, and one at start-up for a run that was missed.

    Debian's cron knows one time zone, the machine's, and nothing of a run that was killed. So the line fires every
    quarter of an hour of the schedule's minutes: a slot that ended, or is not due, ends at once; one that was killed or
    missed is taken up within its grace.
    """
    log = home_of(spec).parent.resolve() / f"{spec.name}.log"
    environment = Path.home() / ".config" / "qrlora-search" / "environment"
    folder, file, secrets, home = (shlex.quote(str(one)) for one in (log.parent, log, environment, Path.cwd()))
    load = f"if [ -r {secrets} ]; then set -a; . {secrets}; set +a; fi"
    said = f">> {file} 2>&1 < /dev/null"
    line = f"mkdir -p {folder} && cd {home} && {{ {load}; {shlex.join(command(where))} {said}; }}".replace("%", r"\%")
    return (
        f"# {spec.name}: {schedule.cron} in {schedule.time_zone}; asks every quarter of an hour\n"
        f"# Add it with: (crontab -l; cat THIS) | crontab -    Secrets, as NAME=value: {environment}\n"
        "# No overlap: the sweep's own lock. A slot that ended is not run again; a missed one is made up for.\n"
        f"{_quarters(schedule)} {line}\n@reboot {line}\n"
    )


def _quarters(schedule: Schedule) -> str:
    """Returns the fields of every quarter of an hour from the schedule's minutes on: no zone's offset is missed."""
    minutes = CronSim(schedule.cron, datetime(2026, 1, 1)).minutes  # noqa: DTZ001 - only its fields are read
    fired = sorted({(minute + quarter) % 60 for minute in minutes for quarter in QUARTERS})
    return f"{'*' if len(fired) == HOUR else ','.join(map(str, fired))} * * * *"


def systemd(spec: SweepSpec, schedule: Schedule, where: Path) -> dict[str, str]:
    """Returns a service and a timer for `systemctl --user`. A unit never runs twice at once; Persistent=true makes up
    for what was missed while the timer was down; one that the machine's own end cut off goes on after its start.
    """
    words = " ".join(_quoted(word) for word in command(where))
    service = f"""[Unit]
Description=Sweep {spec.name} of qrlora-search

[Service]
Type=oneshot
WorkingDirectory={str(Path.cwd()).replace("%", "%%")}
EnvironmentFile=-%h/.config/qrlora-search/environment
ExecStart={words}
# A regression (3) and a sweep that runs already (4) are no failures of the unit.
SuccessExitStatus=3 4
# One that was killed goes on, and one whose cluster or database was away (5); one that ended (1: a search failed) or
# was refused (2) does not.
Restart=on-failure
RestartSec=1min
RestartPreventExitStatus=1 2
# Not to Ray's own processes: a driver that finds them gone cannot end cleanly.
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec=5min
"""
    calendars = "\n".join(f"OnCalendar={one} {schedule.time_zone}" for one in calendar(schedule.cron))
    timer = f"""[Unit]
Description=When the sweep {spec.name} runs: {schedule.cron} in {schedule.time_zone}

[Timer]
{calendars}
Persistent=true
OnStartupSec=1min
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
    return {f"qrlora-{spec.name}.service": service, f"qrlora-{spec.name}.timer": timer}


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
