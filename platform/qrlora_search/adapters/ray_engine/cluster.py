"""Starting Ray on this machine, or joining a cluster that runs."""

import logging
import os
import secrets
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from qrlora_search.adapters.ray_engine.bundle import write_bundle
from qrlora_search.adapters.ray_engine.head_watch import head_watched
from qrlora_search.adapters.ray_engine.resources import NODE, TrialResources, living_nodes
from qrlora_search.describe.plan import Precision
from qrlora_search.method.machine import refusal
from qrlora_search.values.environment import for_nodes
from qrlora_search.values.errors import AwayError, UserError
from qrlora_search.values.secrets import shown_address

CONNECT_S = 3.0
DEFAULT_PORT = 6379
NODE_ANSWER_S = 20.0
LOOPBACK = "127.0.0.1"
LEAVE_S = 30.0

using_ray: list[threading.Thread] = []
"""Threads of this process that use Ray; they are waited for before it is left."""

_SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait starve the other trials of this machine
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a call after the end of a search is an error, not the start of another cluster
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",  # else Tune restarts a preempted trial by itself, from its beginning
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a warm-up gives its processors back no sooner than at such a check
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # else nodes get their first trial one after the other; the searcher limits
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_AIR_NEW_PERSISTENCE_MODE": "1",
}


def check_address(address: str) -> None:
    """Raises UserError for no address of a cluster, and AwayError where nothing answers there; `auto` and `local` are
    left to Ray.
    """
    if address in {"auto", "local"}:
        return
    if address.startswith("ray://"):
        shown = shown_address(address)
        raise UserError(
            f"--address {shown!r}: the Ray client is not supported; give the head node's HOST:{DEFAULT_PORT}"
        )
    shown = shown_address(address)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--address {shown!r} is no HOST:PORT; a Ray head listens on port {DEFAULT_PORT} by default")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise AwayError(
            f"--address {shown!r}: no Ray cluster answers there ({error}); start one with `ray start --head`, "
            "or leave --address out to use this machine"
        ) from None


def _token_at_hand() -> bool:
    """Returns whether a token for Ray's authentication is given or lies where Ray keeps it."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or (Path.home() / ".ray" / "auth_token").is_file()


def set_environment(address: str | None) -> None:
    """Sets what Ray reads from the environment when it is imported, where the user has not set it."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if address is not None and _token_at_hand():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray does so by itself only for clusters that it finds itself


def check_nodes(precision: Precision, each: TrialResources) -> None:
    """Raises UserError where a node that can hold a trial lacks the plan's precision. One that is busy, or dies, is not
    waited for: a trial that is placed there finds out.

    The node is asked with a trial's GPUs in hand: without, Ray hides its accelerators and the processor answers.
    """
    import ray

    able = [str(node["NodeID"]) for node in living_nodes(each.labels) if each.fits(node)]
    if precision == "float32" or not able:
        return
    ask = ray.remote(refusal)
    asked = [
        ask.options(num_cpus=0, num_gpus=each.gpus, label_selector={**each.labels, NODE: node}).remote(precision)
        for node in able
    ]
    answered, late = ray.wait(asked, num_returns=len(asked), timeout=NODE_ANSWER_S)
    for one in late:
        ray.cancel(one, force=True)
    refused = []
    for one in answered:
        with suppress(ray.exceptions.RayError):  # a node that died meanwhile
            refused += [answer for answer in [ray.get(one)] if answer]
    if refused:
        raise UserError("; ".join(refused))


@contextmanager
def _code() -> Iterator[dict[str, object] | None]:
    """Holds what carries this program and its settings to a cluster's nodes: each pulls it once. A Ray job has brought
    both already.
    """
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="qrlora-code-") as scratch:
        yield {"py_modules": [str(write_bundle(Path(scratch)) / "qrlora_search")], "env_vars": for_nodes()}


@contextmanager
def _groups_of_their_own() -> Iterator[None]:
    """Has each of Ray's processes start in a process group of its own, where Linux ends them with this process.

    Else a SIGTERM to this process's group, as `timeout` sends it, ends them first, and Ray's library ends this process
    with exit code 1 a minute later. Ray has no setting for it.
    """
    if sys.platform != "linux":
        yield
        return
    services: Any = import_module("ray._private.services")
    plain = services.ConsolePopen
    services.ConsolePopen = partial(plain, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = plain


@contextmanager
def _signals_left() -> Iterator[None]:
    """Has Ray leave SIGTERM to this program while it starts or joins, too: its own handler exits with code 15."""
    utils: Any = import_module("ray._private.utils")
    plain = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = plain


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Has Ray's processes listen on loopback alone, as they do where that is their node's address.

    Ray takes the machine's own address in its place, but where it is told that there will be no other node: a setting
    that it reads once, when it is imported, and that one who joins a cluster later in this process must not have.
    """
    constants: Any = import_module("ray._private.ray_constants")
    plain = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    if plain is None:  # another Ray's: it then listens where it will
        yield
        return
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = plain


@cache
def _own_token() -> str:
    """Returns a token of this process: one, since Ray reads it once."""
    return secrets.token_hex(32)


@contextmanager
def _token_in_memory() -> Iterator[None]:
    """Has the processes of this cluster know one another by a token, which else Ray writes into the user's home.

    RAY_AUTH_MODE is left to Ray where Ray has been imported and so has read it: it then asks for a token by itself.
    """
    if _token_at_hand() or os.environ.get("RAY_AUTH_MODE", "token") != "token":
        yield
        return
    given = {"RAY_AUTH_TOKEN": _own_token()}
    if "ray" not in sys.modules:
        given["RAY_AUTH_MODE"] = "token"
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            os.environ.pop(name, None)


def _start_here(cpus: int) -> None:
    """Starts a cluster of this process on this machine, which nothing outside it reaches."""
    import ray

    with _groups_of_their_own(), _on_loopback():
        ray.init(
            address="local",  # never a cluster that happens to run here
            num_cpus=cpus,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _node_ip_address=LOOPBACK,
        )


def _start_or_join(address: str | None, cpus: int) -> None:
    """Starts Ray here, or joins a cluster; raises UserError with the remedy where that fails."""
    import ray

    with warnings.catch_warnings(), ExitStack() as held:
        warnings.simplefilter("ignore")
        held.enter_context(_signals_left())
        try:
            if address is None:
                _start_here(cpus)
            else:
                runtime = held.enter_context(_code())
                if address == "local":
                    held.enter_context(_on_loopback())
                ray.init(
                    address=address,
                    runtime_env=runtime,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    _node_ip_address=LOOPBACK if address == "local" else None,
                )
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            kind = AwayError if address is not None and isinstance(error, ConnectionError) else UserError
            raise kind(
                f"--address {address!r}: Ray cannot start or connect: {first}; check the cluster, "
                "and where it asks for a token, that RAY_AUTH_TOKEN or ~/.ray/auth_token holds it"
            ) from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # a failed trial's reason is in the record, once


@contextmanager
def ray_running(address: str | None, cpus: int, lost: Callable[[AwayError], None] | None = None) -> Iterator[None]:
    """Holds a connection to a cluster, or a cluster of this process on this machine with so many CPUs. lost: is told
    before this process ends because the cluster's head is gone.
    """
    with ExitStack() as held:
        if address is None:
            held.enter_context(_token_in_memory())
        set_environment(address)
        import ray

        _start_or_join(address, cpus)
        if address not in {None, "local"}:
            held.enter_context(head_watched(ray.get_runtime_context().gcs_address, lost))
        try:
            yield
        finally:
            for thread in using_ray:  # one that finds Ray gone ends the process with exit code 1
                thread.join(LEAVE_S)
            using_ray.clear()
            ray.shutdown()


def failures() -> tuple[type[Exception], ...]:
    """Returns what Ray raises where a cluster or a run of trials fails, for whoever goes on with something else."""
    import ray
    import ray.tune

    return (ray.exceptions.RayError, ray.tune.TuneError)
