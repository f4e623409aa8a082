"""Requests and the command line: what is refused and how, and that the options are a short closed list."""

import inspect
import math
import re

import pytest
import typer

from qrlora_search.app.cli import app
from qrlora_search.app.request import SearchRequest, check_request, parse_labels, parse_time
from qrlora_search.describe.space import load_space
from qrlora_search.values.errors import UserError

OPTIONS = """task budget model data space seed output resume max-params time-limit address concurrency gpus-per-trial
    tracking-uri train-limit warm-start metrics-port dry-run cpus-per-trial label""".split()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), (" 2H ", 7200), ("1d", 86_400)],
)
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "-5m", "5 m", "h", "1h30", "1x", "1e3s", "0s", "0h0m", "soon", "9" * 400 + "s"]
)
def test_bad_times(text):
    with pytest.raises(UserError) as caught:
        parse_time(text)
    assert str(caught.value).startswith(f"--time-limit {text!r} ")
    assert re.search(r"(write it like|use a time like) 90s", str(caught.value))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"task": "glue"}, "--task 'glue' is not known"),
        ({"budget": 0}, "--budget 0 is out of range: the number of configurations to start; use a whole number from 1"),
        ({"budget": -3}, "--budget -3 is out of range"),
        ({"max_params": 0}, "--max-params 0 is out of range"),
        ({"concurrency": 0}, "--concurrency 0 is out of range"),
        ({"train_limit": -1}, "--train-limit -1 is out of range"),
        ({"seed": -1}, "--seed -1 is out of range; use a whole number from 0"),
        ({"seed": 2**31}, "--seed 2147483648 is out of range"),
        ({"gpus_per_trial": -0.5}, "--gpus-per-trial -0.5 is out of range; use 0, a fraction below 1"),
        ({"gpus_per_trial": 1.5}, "--gpus-per-trial 1.5 is out of range"),
        ({"gpus_per_trial": math.nan}, "--gpus-per-trial nan is out of range"),
        ({"gpus_per_trial": math.inf}, "--gpus-per-trial inf is out of range"),
        ({"time_limit": "soon"}, "--time-limit 'soon' is no time"),
        ({"cpus_per_trial": 0}, "--cpus-per-trial 0 is out of range: the processors of a trial"),
        ({"cpus_per_trial": 10**6}, "--cpus-per-trial 1000000 is more than the"),
        ({"labels": ("zone=a",)}, "--label zone=a: labels choose among a cluster's nodes; give --address, too"),
        (
            {"labels": ("zone",), "address": "h:1"},
            "--label 'zone' is no NAME=VALUE, e.g. zone=a, zone=!a or zone=in(a,b)",
        ),
        ({"labels": ("zone=",), "address": "h:1"}, "--label 'zone=' is no NAME=VALUE"),
        ({"labels": ("zone=in(a",), "address": "h:1"}, "--label 'zone=in(a' is no NAME=VALUE"),
        ({"labels": ("a=b", "a=c"), "address": "h:1"}, "--label 'a=c': a is 'b' already; use in(b,c) for both"),
        ({"space": "nowhere.toml"}, "--space 'nowhere.toml' does not exist"),
    ],
)
def test_a_bad_request_names_option_value_and_remedy(changes, problem):
    with pytest.raises(UserError) as caught:
        check_request(SearchRequest(**{"task": "cola", **changes}))
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize("gpus", [None, 0, 0.25, 1, 2, 8.0])
def test_a_good_request_is_taken_as_it_is(gpus):
    request = SearchRequest("stsb", budget=1, gpus_per_trial=gpus, time_limit="1m", seed=2**31 - 1, address="h:1")
    checked = check_request(request)
    assert (checked.request, checked.task.name, checked.time_limit_s) == (request, "stsb", 60.0)
    assert checked.space == load_space("stsb")


@pytest.mark.parametrize("value", ["a", "!a", "in(a,b)", "!in(a,b-2)", "v1.2_3"])
def test_labels_are_names_and_values_or_patterns_of_ray(value):
    labels = (f"zone={value}", "ray.io/accelerator-type=A100")
    assert parse_labels(labels) == {"zone": value, "ray.io/accelerator-type": "A100"}
    assert check_request(SearchRequest("cola", address="h:1", labels=labels)).request.labels == labels


def options():
    """Return the long options of every command, without --help."""
    command = typer.main.get_command(app)
    return {
        name: [option.removeprefix("--") for one in sub.params for option in one.opts if option.startswith("--")]
        for name, sub in command.commands.items()
    }


def test_the_command_line_is_a_short_closed_list():
    found = options()
    assert {"search", "ui"} <= set(found)
    assert sorted(found["search"]) == sorted(OPTIONS)
    assert all(len(one) <= 20 for one in found.values())


SWEEP_OPTIONS = {
    "run": ["slot", "scheduled", "dry-run"],
    "submit": ["slot", "jobs", "again"],
    "status": ["slot", "jobs"],
    "logs": ["slot", "jobs"],
    "stop": ["slot", "jobs"],
    "schedule": ["as", "to", "image"],
    "prune": ["keep"],
}


def test_the_commands_of_sweeps_are_a_closed_list_too():
    group = typer.main.get_command(app).commands["sweep"]
    found = {
        name: [option.removeprefix("--") for one in sub.params for option in one.opts if option.startswith("--")]
        for name, sub in group.commands.items()
    }
    assert found == SWEEP_OPTIONS


def test_the_command_and_the_request_have_the_same_options_and_defaults():
    command = {one.name: one for one in typer.main.get_command(app).commands["search"].params}
    request = inspect.signature(SearchRequest).parameters
    assert set(command) == set(request)
    for name, one in request.items():
        assert command[name].required == (one.default is inspect.Parameter.empty)
        if not command[name].required:
            assert command[name].default == one.default
