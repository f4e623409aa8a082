"""What schedulers are given: fields, quoting, time zones; calendars against cron itself; manifests against schemas."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml
from cronsim import CronSim
from mlflow.server.security_utils import is_allowed_host_header

from qrlora_search.app import sweep_schedule
from qrlora_search.app.cli import main
from qrlora_search.app.sweep_cron import calendar
from qrlora_search.describe.space import spaces_folder
from qrlora_search.describe.sweep import load_sweep
from qrlora_search.values.times import parse_seconds

NIGHTLY = spaces_folder() / "sweeps" / "nightly.toml"
ON_VOLUME = NIGHTLY.read_text().replace('output = "runs/sweeps"', 'output = "/runs/sweeps"')
"""The same with its output where the manifests mount a volume."""
SCHEMAS = json.loads((Path(__file__).parents[1] / "schemas" / "manifests.json").read_text())


@pytest.fixture
def written(tmp_path):
    def write(form):
        spec = NIGHTLY
        if form.startswith("kube"):
            spec = tmp_path / "on-volume.toml"
            spec.write_text(ON_VOLUME)
        assert main(["sweep", "schedule", str(spec), "--as", form, "--to", str(tmp_path / form)]) == 0
        return {path.name: path.read_text() for path in (tmp_path / form).iterdir()}

    return write


def test_a_form_that_is_not_known_and_a_sweep_without_schedule_are_refused(capsys):
    assert main(["sweep", "schedule", str(NIGHTLY), "--as", "systemdd"]) == 2
    assert "did you mean 'systemd'" in capsys.readouterr().err
    assert main(["sweep", "schedule", str(NIGHTLY.with_name("small.toml")), "--as", "crontab"]) == 2
    assert "there is no [schedule]" in capsys.readouterr().err


def test_the_crontab_has_the_schedule_a_start_up_line_and_no_secret(written, monkeypatch):
    monkeypatch.setenv("QRLORA_STORAGE", "postgresql://u:swordfish@h/d")
    text = written("crontab")["nightly.crontab"]
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == 2
    assert lines[1].startswith("@reboot ")
    assert lines[0].split(" ", 5)[5] == lines[1].split(" ", 1)[1]
    assert str(NIGHTLY.resolve()) in lines[0]
    assert "swordfish" not in text


def test_it_is_asked_every_quarter_so_that_no_offset_and_no_killed_night_is_missed():
    schedule = load_sweep(NIGHTLY).schedule
    fields = sweep_schedule._quarters(schedule)
    assert fields == "0,15,30,45 * * * *"
    fires = CronSim(fields, datetime(2026, 1, 1, tzinfo=UTC))
    times = {next(fires) for _ in range(4 * 24 * 365)}
    wanted = CronSim("30 1 * * *", datetime(2026, 1, 2).astimezone().replace(tzinfo=None))
    assert next(wanted).minute == 30
    berlin = CronSim(schedule.cron, datetime(2026, 1, 2, tzinfo=__import__("zoneinfo").ZoneInfo(schedule.time_zone)))
    assert all(next(berlin).astimezone(UTC) in times for _ in range(300))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cron") is None or os.geteuid() != 0, reason="cron is not installed, or not root")
def test_cron_itself_runs_the_very_line(tmp_path, monkeypatch):
    folder, command = written_for_cron(tmp_path, monkeypatch)
    table, log = Path("/etc/cron.d/qrlora-line"), folder / "runs" / "each.log"
    table.write_text(f"HOME={tmp_path / 'home'}\n* * * * * root {command}\n")
    table.chmod(0o644)
    daemon = subprocess.Popen(["cron", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 150
        while time.monotonic() < until and "schedule.grace" not in (log.read_text() if log.is_file() else ""):
            time.sleep(0.5)
    finally:
        table.unlink()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
    assert "was missed for longer than schedule.grace" in log.read_text()


def written_for_cron(tmp_path, monkeypatch) -> tuple[Path, str]:
    """Return a folder with a sweep that is not due, and the command that its crontab line gives to cron."""
    folder = tmp_path / "a folder, 100% its own"
    folder.mkdir()
    spec = folder / "sweep.toml"
    text = NIGHTLY.with_name("small.toml").read_text().replace('"small"', '"each"')
    far = (datetime.now(UTC).month + 5) % 12 + 1  # half a year away: no run of this test falls into its grace
    spec.write_text(text + f'\n[schedule]\ncron = "0 0 1 {far} *"\ngrace = "1s"\n[storage]\noutput = "runs"\n')
    monkeypatch.chdir(folder)
    assert main(["sweep", "schedule", str(spec), "--as", "crontab", "--to", "out"]) == 0
    (line,) = [one for one in (folder / "out" / "each.crontab").read_text().splitlines() if one.startswith("0,15,")]
    (tmp_path / "home" / ".config/qrlora-search").mkdir(parents=True)
    return folder, line.split(" ", 5)[5]


def test_the_very_line_runs_as_cron_would_run_it(tmp_path, monkeypatch):
    """`sh -c` with cron's bare environment: no PATH to speak of, no variables."""
    folder, command = written_for_cron(tmp_path, monkeypatch)
    command, home = command.replace(r"\%", "%"), tmp_path / "home"
    bare = {"HOME": str(home), "LOGNAME": "nobody", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    if "PYTHONPATH" in os.environ:
        bare["PYTHONPATH"] = os.environ["PYTHONPATH"]
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=bare, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "was missed for longer than schedule.grace" in (folder / "runs" / "each.log").read_text()


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 1 * * *", ["*-*-* 1:30:00"]),
        ("*/20 */12 * * *", ["*-*-* 0,12:0,20,40:00"]),
        ("0 0 1,15 6 *", ["*-6-1,15 0:0:00"]),
        ("5 4 * * mon-wed", ["Mon,Tue,Wed *-*-* 4:5:00"]),
        ("5 4 * * 7", ["Sun *-*-* 4:5:00"]),
        ("0 0 13 * 5", ["*-*-13 0:0:00", "Fri *-*-* 0:0:00"]),
    ],
)
def test_cron_becomes_systemds_calendar(cron, expected):
    assert calendar(cron) == expected


@pytest.mark.parametrize("cron", ["30 1 * * *", "*/20 */12 * * *", "0 0 1,15 6 *", "5 4 * * mon-wed", "0 0 13 * 5"])
def test_systemd_itself_reads_the_same_next_times(cron):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    calendars = [f"{one} UTC" for one in calendar(cron)]
    start = datetime(2026, 3, 3, 3, 3, tzinfo=UTC)
    times = set()
    for one in calendars:
        words = [program, "calendar", "--iterations=6", f"--base-time={start:%Y-%m-%d %H:%M:%S} UTC", one]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if "Next elapse" in line or "Iter" in line]
        times |= {datetime.strptime(line, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC) for line in lines}
    reference = CronSim(cron, start)
    assert sorted(times)[:5] == [next(reference) for _ in range(5)]


def test_a_name_too_long_for_a_ray_job_is_refused(tmp_path, capsys):
    spec = tmp_path / "long.toml"
    spec.write_text(ON_VOLUME.replace('name = "nightly"', f'name = "{"n" * 33}"'))
    assert main(["sweep", "schedule", str(spec), "--as", "kubernetes", "--to", str(tmp_path / "out")]) == 2
    assert "use at most 32" in capsys.readouterr().err
    assert main(["sweep", "schedule", str(spec), "--as", "crontab", "--to", str(tmp_path / "out")]) == 0


def test_systemd_units_are_whole(written):
    files = written("systemd")
    assert set(files) == {"qrlora-nightly.service", "qrlora-nightly.timer"}
    timer, service = files["qrlora-nightly.timer"], files["qrlora-nightly.service"]
    assert "OnCalendar=*-*-* 1:30:00 Europe/Berlin" in timer
    assert "Persistent=true" in timer
    assert "OnStartupSec=1min" in timer  # Persistent does not run again what was cut off by the machine's own end
    assert '"sweep" "run"' in service
    assert "SuccessExitStatus=3 4\n" in service
    assert "Restart=on-failure\n" in service
    assert "RestartPreventExitStatus=1 2\n" in service  # and not 5: a cluster or database that is away for a minute
    assert "KillMode=mixed" in service  # SIGTERM to the sweep alone


@pytest.mark.parametrize("form", ["kubernetes", "kuberay"])
def test_manifests_keep_to_their_schemas_and_hold_no_secret(written, tmp_path, form):
    (text,) = written(form).values()
    documents = list(yaml.safe_load_all(text))
    for one in documents:
        jsonschema.validate(one, SCHEMAS[one["kind"]])
    kinds = [one["kind"] for one in documents]
    assert kinds[0] == "ConfigMap"
    assert kinds[-1] == {"kubernetes": "CronJob", "kuberay": "RayCronJob"}[form]
    assert documents[0]["data"]["sweep.toml"] == (tmp_path / "on-volume.toml").read_text()
    cron = documents[-1]["spec"]
    assert (cron["schedule"], cron["timeZone"]) == ("30 1 * * *", "Europe/Berlin")
    if form == "kubernetes":
        assert cron["concurrencyPolicy"] == "Forbid"
        assert cron["startingDeadlineSeconds"] == 6 * 3600
        jsonschema.validate(yaml.safe_load(documents[-2]["data"]["rayjob.yaml"]), SCHEMAS["RayJob"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('output = "/runs/sweeps"', 'output = "runs/sweeps"', "storage.output = 'runs/sweeps'"),
        ('output = "/runs/sweeps"', 'output = "/home/me/runs"', "'/home/me/runs' goes with the cluster"),
        ('address = "$RAY_ADDRESS"', "", "resources.address: without it"),
        ('tracking_uri = "$MLFLOW_TRACKING_URI"', 'tracking_uri = "sqlite:////tmp/mlflow.db"', "'/tmp/mlflow.db' goes"),
        ('spaces = ["default"]', 'spaces = ["mine.toml"]', "searches.spaces = 'mine.toml'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["kubernetes", "kuberay"])
def test_a_place_that_goes_with_the_cluster_is_refused(tmp_path, capsys, form, old, new, said):
    spec = tmp_path / "spec.toml"
    assert old in ON_VOLUME
    spec.write_text(ON_VOLUME.replace(old, new))
    (tmp_path / "mine.toml").write_text("")
    assert main(["sweep", "schedule", str(spec), "--as", form]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.out == ""


def test_an_image_without_a_name_is_refused(written, tmp_path, capsys):
    written("kuberay")
    assert main(["sweep", "schedule", str(tmp_path / "on-volume.toml"), "--as", "kuberay", "--image", ""]) == 2
    assert "--image ''" in capsys.readouterr().err


def test_a_schema_sees_what_is_wrong(written):
    (text,) = written("kubernetes").values()
    cron = list(yaml.safe_load_all(text))[-1]
    cron["spec"]["concurrencyPolicie"] = "Forbid"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cron, SCHEMAS["CronJob"])


def test_the_pod_names_the_rayjob_by_its_slot_and_creates_it_once(written, tmp_path):
    """The pod's own script, with a stand-in for kubectl that notes its words."""
    (text,) = written("kubernetes").values()
    documents = list(yaml.safe_load_all(text))
    script = documents[-1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"][2]
    (tmp_path / "rayjob.yaml").write_text(documents[-2]["data"]["rayjob.yaml"])
    script = script.replace("/etc/rayjob", str(tmp_path)).replace("/tmp/rayjob.yaml", str(tmp_path / "made.yaml"))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words\n[ "$1" = create ] && touch {tmp_path}/there\n'
                       f'[ "$1" != get ] || [ -e {tmp_path}/there ]\n')  # fmt: skip
    kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)
    bare = {"PATH": f"{tmp_path}:/usr/bin:/bin", "JOB_NAME": "sweep-nightly-29397690"}
    for _ in range(2):
        subprocess.run(["/bin/sh", "-c", script], env=bare, check=True, timeout=20, capture_output=True)
    made = yaml.safe_load((tmp_path / "made.yaml").read_text())
    assert made["metadata"]["name"] == "sweep-nightly-29397690"
    assert [line.split()[0] for line in (tmp_path / "words").read_text().splitlines()] == ["get", "create", "get"]


def test_the_command_of_a_line_is_one_that_runs():
    words = sweep_schedule.command(NIGHTLY)
    assert Path(words[0]).is_absolute()
    assert Path(words[0]).parent == Path(sys.executable).parent
    assert words[-1] == "--scheduled"
    assert timedelta(seconds=parse_seconds(load_sweep(NIGHTLY).schedule.grace, "grace")) == timedelta(hours=6)


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 0), (5, 5), (143, 143)])
def test_a_regression_brings_up_no_second_cluster(written, tmp_path, code, seen):
    """The entry point's own words, with a program that ends so."""
    (text,) = written("kubernetes").values()
    job = yaml.safe_load(list(yaml.safe_load_all(text))[-2]["data"]["rayjob.yaml"])
    program = tmp_path / "qrlora-search"
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", job["spec"]["entrypoint"]], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False, timeout=20
    )
    assert done.returncode == seen


def test_the_standing_cluster_is_sound_where_it_can_be_seen_without_kubernetes():
    """Its Ray cluster by the schema of a RayJob's; MLflow's own check of the hosts that its clients use."""
    text = (Path(__file__).parents[2] / "deploy" / "cluster.yaml").read_text()
    documents = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}
    cluster = documents["RayCluster", "qrlora"]
    schema = SCHEMAS["RayJob"]["properties"]["spec"]["properties"]["rayClusterSpec"]
    jsonschema.validate(cluster["spec"], {**schema, "$defs": SCHEMAS["RayJob"].get("$defs", {})})
    head, (workers, gpus) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    mounted = [one["template"]["spec"]["automountServiceAccountToken"] for one in (head, workers, gpus)]
    assert mounted == [True, False, False]
    (container,) = documents["Deployment", "mlflow"]["spec"]["template"]["spec"]["containers"]
    (hosts,) = (one["value"] for one in container["env"] if one["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS")
    assert is_allowed_host_header(hosts.split(","), "mlflow:5000")
    assert not is_allowed_host_header(hosts.split(","), "elsewhere:5000")
    secrets = {one["secretRef"]["name"] for one in container["envFrom"]}
    assert secrets == {"qrlora-mlflow"}
