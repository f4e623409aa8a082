"""What the manifests of a sweep make of its resources, its cron and its words."""

from datetime import UTC, datetime

import jsonschema
import pytest
import yaml
from cronsim import CronSim

from qrlora_search.app.cli import main
from qrlora_search.app.sweep_cron import for_kubernetes
from qrlora_search.values.errors import UserError
from test_sweep_schedule import ON_VOLUME, SCHEMAS

RESOURCES = 'address = "$RAY_ADDRESS"    # HOST:PORT of the cluster\'s head\ngpus_per_trial = 0.25\n'


@pytest.fixture
def told(tmp_path, capsys):
    """Return what the kuberay form of nightly.toml with other words is, or the error that it is."""

    def write(old: str, new: str, form: str = "kuberay") -> tuple[int, str]:
        spec = tmp_path / "spec.toml"
        assert old in ON_VOLUME
        spec.write_text(ON_VOLUME.replace(old, new))
        code = main(["sweep", "schedule", str(spec), "--as", form])
        found = capsys.readouterr()
        return code, found.err if code else found.out

    return write


def workers(text: str) -> dict[str, object]:
    cluster = list(yaml.safe_load_all(text))[-1]["spec"]["jobTemplate"]["rayClusterSpec"]
    jsonschema.validate(cluster, SCHEMAS["RayCronJob"]["properties"]["spec"]["properties"]["jobTemplate"]["properties"]
                        ["rayClusterSpec"])  # fmt: skip
    (group,) = cluster["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    version = cluster.get("autoscalerOptions", {}).get("version")
    return {**limits, "labels": group.get("labels"), "autoscaler": version}


@pytest.mark.parametrize(
    ("resources", "cpu", "gpu", "labels"),
    [
        ("", "4", None, None),
        ("gpus_per_trial = 0.25\n", "4", "1", None),
        ("gpus_per_trial = 2.0\ncpus_per_trial = 8\nlabels = {zone = \"a\", rack = \"!x\"}\n", "8", "2", {"zone": "a"}),
    ],
)  # fmt: skip
def test_workers_hold_what_a_trial_asks_for(told, resources, cpu, gpu, labels):
    code, text = told(RESOURCES, f'address = "auto"\n{resources}')
    assert code == 0, text
    found = workers(text)
    assert (found["cpu"], found.get("nvidia.com/gpu"), found["labels"]) == (cpu, gpu, labels)
    assert found["autoscaler"] == ("v2" if labels else None)


@pytest.mark.parametrize("form", ["kubernetes", "kuberay"])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (RESOURCES, 'address = "10.0.0.1:6379"\n', "resources.address = '10.0.0.1:6379'"),
        (RESOURCES, 'address = "auto"\nlabels = {zone = "in(a,b)"}\n', "resources.labels.zone = 'in(a,b)'"),
        ("30 1 * * *", "30 1 L * *", "Kubernetes has no L, W or #"),
        ("30 1 * * *", "30 1 * * 1#2", "Kubernetes has no L, W or #"),
        ("30 1 * * *", "30 1 */2 * 1", "give one of them"),
        ("[budget] ", "# was postgresql://me:swordfish@h/d\n[budget] ", "a comment of it holds an address with a pass"),
        ('name = "nightly"', 'name = "nightly-"', "name = 'nightly-'"),
    ],
)  # fmt: skip
def test_what_kubernetes_would_refuse_or_misread_is_refused_here(told, form, old, new, said):
    code, text = told(old, new, form)
    assert code == 2
    assert said in text
    assert "swordfish" not in text


@pytest.mark.parametrize("cron", ["30 1 * * 7", "30 1 * * 5-7", "*/20 4 * * mon-wed", "0 0 1,15 jun *", "5 4 13 * 5"])
def test_cron_is_written_as_kubernetes_reads_it_and_means_the_same(cron):
    fields = for_kubernetes(cron)
    assert set(fields) <= set("0123456789,* ")
    assert "7" not in fields.split()[4]
    start = datetime(2026, 11, 30, tzinfo=UTC)
    ours, theirs = CronSim(cron, start), CronSim(fields, start)
    assert [next(ours) for _ in range(50)] == [next(theirs) for _ in range(50)]


def test_days_that_only_cron_knows_are_named():
    with pytest.raises(UserError, match="30 1 LW"):
        for_kubernetes("30 1 LW * *")


def test_a_short_grace_is_no_shorter_than_kubernetes_looks(told):
    code, text = told('grace = "6h"', 'grace = "0.4s"', "kubernetes")
    assert code == 0, text
    assert list(yaml.safe_load_all(text))[-1]["spec"]["startingDeadlineSeconds"] == 60
