"""Manifests of a scheduled sweep for Kubernetes, as text: YAML is written here and never read.

kubernetes: a CronJob whose pod creates a KubeRay RayJob, named by the slot, so that a slot is created once.
kuberay: KubeRay's own RayCronJob (alpha), with the time zone in a field that came in June 2026.
"""

import math
import re
from pathlib import Path
from typing import Any

from qrlora_search.app.sweep_cron import for_kubernetes
from qrlora_search.app.sweep_shared import VOLUME, check_on_volume
from qrlora_search.describe.sweep import Schedule, SweepSpec
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import without_secrets
from qrlora_search.values.times import parse_seconds

Manifest = dict[str, Any]
KUBECTL = "alpine/kubectl:1.33.4"
ADDRESS_MARK = "SLOT"
DAY_S = 86_400
MOST_NAME = 47
"""KubeRay refuses RayJobs with longer names."""
SECRET = "qrlora-search"
LEAST_GRACE_S = 60
"""Kubernetes looks for what is due every ten seconds: with less it may miss it."""
_CONTEXT = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]},
}
_KINDS = {"kubernetes": "CronJob", "kuberay": "RayCronJob"}


def kubernetes_files(spec: SweepSpec, schedule: Schedule, where: Path, form: str, image: str) -> dict[str, str]:
    """Returns the files of a form by name."""
    import yaml

    check_on_volume(spec)
    if not re.fullmatch(r"auto|\$.+", spec.resources.address or ""):
        raise UserError(
            f"resources.address = {spec.resources.address!r}: the manifest brings up a cluster of its own; "
            'write address = "auto"'
        )
    if not image.strip():
        raise UserError(f"--image {image!r} names no image; give one that the cluster can pull")
    longest = MOST_NAME - len("sweep--YYYYMMDD")
    if len(spec.name) > longest:
        raise UserError(
            f"name = {spec.name!r} has {len(spec.name)} characters; a RayJob named by it and the day may have "
            f"{MOST_NAME} in all: use at most {longest}"
        )
    manifests = [_config(spec, where), *(_cron_job(spec, schedule, image) if form == "kubernetes" else
                                         [_ray_cron_job(spec, schedule, image)])]  # fmt: skip
    text = "".join("---\n" + yaml.safe_dump(one, sort_keys=False, width=110) for one in manifests)
    head = (
        f"# The sweep {spec.name} on Kubernetes: {_KINDS[form]}. It was checked against schemas of its fields, and not "
        "run on a cluster.\n"
        f"# Secrets come from the Secret {SECRET!r}, whose keys are names of environment variables; none is in here.\n"
        "# See docs/operators.md.\n"
    )
    return {f"{spec.name}-{form}.yaml": head + text}


def _labels(spec: SweepSpec) -> dict[str, str]:
    return {"app.kubernetes.io/name": "qrlora-search", "qrlora-search/sweep": spec.name}


def _config(spec: SweepSpec, where: Path) -> Manifest:
    text = where.read_text(encoding="utf-8")
    said = re.sub(r"://[A-Z_]+(:[A-Z_]+)?@", "://", text)  # but for what says USER:PASSWORD
    if without_secrets(said) != said:  # of its values that is known: this is of its comments
        raise UserError(f"{where}: a comment of it holds an address with a password; take it out")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"sweep-{spec.name}", "labels": _labels(spec)},
        "data": {"sweep.toml": text},
    }


def ray_job(spec: SweepSpec, image: str, name: str | None) -> Manifest:
    """Returns a RayJob that runs a sweep's newest slot on a cluster of its own, which is taken away afterwards."""
    sweep = "qrlora-search sweep run /etc/sweep/sweep.toml --scheduled"
    # a regression (3) and a sweep that runs already (4) are no failures, which would bring up a second cluster
    entrypoint = f"sh -c '{sweep}; code=$?; [ $code = 3 ] || [ $code = 4 ] || exit $code'"
    job: Manifest = {
        "entrypoint": entrypoint,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 3600,
        "backoffLimit": 2,  # a second attempt goes on from the sweep's own record
        "submissionMode": "K8sJobMode",
        "rayClusterSpec": _cluster(spec, image),
    }
    if name is None:
        return job
    metadata = {"name": name, "labels": _labels(spec)}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": job}


def _cluster(spec: SweepSpec, image: str) -> Manifest:
    wanted = spec.resources
    limits = {"cpu": str(max(4, wanted.cpus_per_trial or 1)), "memory": "16Gi"}
    if wanted.gpus_per_trial:
        limits["nvidia.com/gpu"] = str(math.ceil(wanted.gpus_per_trial))
    worker, labels = _pod(spec, image, "worker", limits), _node_labels(spec)
    head = _pod(spec, image, "head", {"cpu": "2", "memory": "8Gi"})
    return {
        "rayVersion": "2.60.0",
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        **({"autoscalerOptions": {"version": "v2"}} if labels else {}),  # the first one knows no labels
        "headGroupSpec": {"rayStartParams": {"dashboard-host": "0.0.0.0"}, "template": head},
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "minReplicas": 0,
                "replicas": 1,
                "maxReplicas": 8,
                **({"labels": labels} if labels else {}),
                "rayStartParams": {},
                "template": worker,
            }
        ],
    }


def _node_labels(spec: SweepSpec) -> dict[str, str]:
    """Returns labels that workers must have so that trials run there. Raises UserError where that is not one value."""
    wanted = {name: value for name, value in spec.resources.labels.items() if not value.startswith("!")}
    for name, value in wanted.items():
        if not re.fullmatch(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", value):
            raise UserError(f"resources.labels.{name} = {value!r}: the manifest's workers have one value; write that")
    return wanted


def _pod(spec: SweepSpec, image: str, part: str, limits: dict[str, str]) -> Manifest:
    mounts = [{"name": "sweep", "mountPath": "/etc/sweep", "readOnly": True}, {"name": "runs", "mountPath": VOLUME}]
    container = {
        "name": f"ray-{part}",
        "image": image,
        "resources": {"requests": dict(limits), "limits": dict(limits)},
        "envFrom": [{"secretRef": {"name": SECRET}}],
        "env": [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
                {"name": "RAY_USAGE_STATS_REPORT_URL", "value": "http://127.0.0.1:9"},
                {"name": "QRLORA_CACHE", "value": f"{VOLUME}/cache"}, {"name": "RAY_ADDRESS", "value": "auto"}],
        "volumeMounts": mounts,
        "securityContext": dict(_CONTEXT),
    }  # fmt: skip
    volumes = [
        {"name": "sweep", "configMap": {"name": f"sweep-{spec.name}"}},
        {"name": "runs", "persistentVolumeClaim": {"claimName": "qrlora-runs"}},
    ]
    # the autoscaler beside the head speaks to Kubernetes, and nothing else does
    pod = {"automountServiceAccountToken": part == "head", "securityContext": {"fsGroup": _CONTEXT["runAsUser"]},
           "containers": [container], "volumes": volumes}  # fmt: skip
    return {"metadata": {"labels": _labels(spec)}, "spec": pod}


def _ray_cron_job(spec: SweepSpec, schedule: Schedule, image: str) -> Manifest:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCronJob",
        "metadata": {"name": f"sweep-{spec.name}", "labels": _labels(spec)},
        "spec": {
            "schedule": for_kubernetes(schedule.cron),
            "timeZone": schedule.time_zone,
            "suspend": False,
            "jobTemplate": ray_job(spec, image, None),
        },
    }


def _cron_job(spec: SweepSpec, schedule: Schedule, image: str) -> list[Manifest]:
    """Returns the CronJob with the account that may create RayJobs and nothing else."""
    import yaml

    name = f"sweep-{spec.name}"
    template = yaml.safe_dump(ray_job(spec, image, f"{name}-{ADDRESS_MARK}"), sort_keys=False, width=110)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "labels": _labels(spec)}}
    rules = [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": name, "labels": _labels(spec)}, "rules": rules}  # fmt: skip
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "labels": _labels(spec)},
        "subjects": [{"kind": "ServiceAccount", "name": name}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
    }
    jobs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-rayjob", "labels": _labels(spec)},
            "data": {"rayjob.yaml": template}}  # fmt: skip
    pod = {
        "serviceAccountName": name,
        "restartPolicy": "OnFailure",
        "containers": [_creator(name)],
        "volumes": [{"name": "rayjob", "configMap": {"name": f"{name}-rayjob"}}],
    }
    job = {"backoffLimit": 3, "ttlSecondsAfterFinished": DAY_S, "template": {"metadata": {"labels": _labels(spec)},
                                                                            "spec": pod}}  # fmt: skip
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "labels": _labels(spec)},
        "spec": {
            "schedule": for_kubernetes(schedule.cron),
            "timeZone": schedule.time_zone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": max(LEAST_GRACE_S, round(parse_seconds(schedule.grace, "grace"))),
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": job},
        },
    }
    return [account, role, binding, jobs, cron]


def _creator(name: str) -> Manifest:
    """Returns the container that creates the slot's RayJob. The CronJob's pod is named by the minute it was due."""
    script = (
        "set -eu; slot=$(printf %s \"$JOB_NAME\" | sed 's/.*-//'); "
        f'sed "s/{re.escape(name)}-{ADDRESS_MARK}/{name}-$slot/" /etc/rayjob/rayjob.yaml > /tmp/rayjob.yaml; '
        f'kubectl get rayjob "{name}-$slot" || kubectl create -f /tmp/rayjob.yaml'
    )
    small = {"cpu": "100m", "memory": "128Mi"}
    named = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    return {
        "name": "create",
        "image": KUBECTL,
        "command": ["/bin/sh", "-c", script],
        "env": [{"name": "JOB_NAME", "valueFrom": named}],
        "resources": {"requests": small, "limits": small},
        "volumeMounts": [{"name": "rayjob", "mountPath": "/etc/rayjob", "readOnly": True}],
        "securityContext": dict(_CONTEXT),
    }
