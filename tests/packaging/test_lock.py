"""requirements.lock: exact pins that serve every machine, for everything that pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[2]
LINES = (CHECKOUT / "requirements.lock").read_text().splitlines()
PINS = [Requirement(line) for line in LINES if line and not line.startswith("#")]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11.7", "3.12.1", "3.13.0")


def wanted() -> list[Requirement]:
    """Return the requirements of the project and of all its extras."""
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]]


def applies(pin: Requirement, python: str, system: str = "linux") -> bool:
    environment = {
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
        "sys_platform": system,
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    return pin.marker is None or pin.marker.evaluate(environment)


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: pin.name)
def test_every_line_is_one_exact_public_version(pin: Requirement) -> None:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    assert "+" not in specifier.version, "a local version exists on one index only"
    assert "*" not in specifier.version
    assert pin.url is None


def test_no_address_hash_option_or_path() -> None:
    text = "\n".join(line for line in LINES if not line.startswith("#"))
    assert not re.search(r"://|--|sha256|(^|\s)/|\\|@", text, re.MULTILINE)


def test_the_cuda_packages_are_left_to_torch() -> None:
    assert [pin.name for pin in PINS if pin.name.startswith(("nvidia", "cuda", "triton"))] == []


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_one_pin_for_everything_asked_for_and_within_its_range(python: str, system: str) -> None:
    pins: dict[str, list[str]] = {}
    for pin in PINS:
        if applies(pin, python, system):
            pins.setdefault(canonicalize_name(pin.name), []).append(next(iter(pin.specifier)).version)
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}
    for requirement in wanted():
        versions = pins.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement.name} is not pinned; run `make lock`"
        assert requirement.specifier.contains(versions[0]), f"{requirement} is pinned to {versions[0]}; run `make lock`"


def test_ranges_have_a_lower_bound_and_say_what_needs_them() -> None:
    for requirement in wanted():
        assert any(specifier.operator == ">=" for specifier in requirement.specifier), requirement
    lines = (CHECKOUT / "pyproject.toml").read_text().splitlines()
    for text in PROJECT["dependencies"]:
        (line,) = [line for line in lines if f'"{text}"' in line]
        assert "# " in line, f"{text}: say which file needs it"
