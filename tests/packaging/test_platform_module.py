"""``platform/`` is the standard library's module: CPython's own tests of it pass where the folder hides it."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SUPPORTED = ("3.11", "3.12", "3.13")

RUN_CPYTHON_TESTS = """
import sys, unittest, platform
assert platform.__file__ == sys.argv[1], f"the standard module was imported from {platform.__file__}"
try:
    import test.test_platform
except ModuleNotFoundError as error:
    raise SystemExit(f"this Python lacks CPython's own tests ({error}); on Debian: apt-get install "
                     f"libpython3.{sys.version_info.minor}-testsuite")
suite = unittest.defaultTestLoader.loadTestsFromName("test.test_platform")
result = unittest.TextTestRunner(verbosity=0).run(suite)
assert test.test_platform.platform.__file__ == sys.argv[1]
print("ran", result.testsRun - len(result.skipped), "failed", len(result.failures) + len(result.errors))
"""
STATE = "; ".join(
    [
        "import platform, pickle",
        "uname = platform.uname()",
        "assert pickle.loads(pickle.dumps(uname)) == uname",
        "kept = {name: repr(value) for name, value in vars(platform).items() if name[:2] != '__'}",
        "print(sorted(kept))",
    ]
)


def interpreters() -> list[str]:
    """Return this interpreter, and one of each other supported version that pyenv has here."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for python in sorted(root.glob("versions/3.*/bin/python")):
        version = ".".join(python.parent.parent.name.split(".")[:2])
        if version in SUPPORTED:
            found.setdefault(version, str(python))
    return list(found.values())


@cache
def run(python: str, *arguments: str, folder: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def output(python: str, *arguments: str, folder: Path = CHECKOUT) -> str:
    result = run(python, *arguments, folder=folder)
    assert result.returncode == 0, f"{arguments}: {result.stdout}{result.stderr}"
    return result.stdout


def launchers() -> list[str]:
    return sorted(path.stem for path in CHECKOUT.glob("platform/*.py") if not path.stem.startswith("_"))


each_python = pytest.mark.parametrize("python", interpreters())


@each_python
def test_cpythons_own_tests_pass_from_the_repository_root(python: str) -> None:
    shim = str(CHECKOUT / "platform" / "__init__.py")
    words = output(python, "-c", RUN_CPYTHON_TESTS, shim).split()
    assert int(words[-3]) > 10
    assert int(words[-1]) == 0


@each_python
@pytest.mark.parametrize("arguments", [(), ("terse",), ("--terse",), ("--nonaliased",), ("--terse", "--nonaliased")])
def test_running_it_prints_what_the_standard_module_prints(
    python: str, arguments: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.getbasetemp()
    assert output(python, "-m", "platform", *arguments) == output(
        python, "-m", "platform", *arguments, folder=elsewhere
    )


@each_python
def test_it_defines_the_names_of_the_standard_module_and_no_other(
    python: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert output(python, "-c", STATE) == output(python, "-c", STATE, folder=tmp_path_factory.getbasetemp())


@each_python
def test_the_package_keeps_its_own_identity(python: str) -> None:
    names = "('__name__', '__package__', '__path__', '__file__')"
    code = f"import platform; print([getattr(platform, name) for name in {names}], platform.__spec__.origin)"
    folder = CHECKOUT / "platform"
    expected = ["platform", "platform", [str(folder)], str(folder / "__init__.py")]
    assert output(python, "-c", code).strip() == f"{expected} {folder / '__init__.py'}"
    assert "commands as submodules" in output(python, "-c", "import platform; print(platform.__doc__)")


@each_python
def test_it_works_where_the_standard_library_is_a_zip(python: str, tmp_path: Path) -> None:
    code = "\n".join(
        [
            "import os, sys, sysconfig, zipfile",
            "archive = os.path.join(sys.argv[1], 'library.zip')",
            "with zipfile.ZipFile(archive, 'w') as library:",
            "    library.write(os.path.join(sysconfig.get_path('stdlib'), 'platform.py'), 'platform.py')",
            "sysconfig.get_path = lambda name: sys.argv[1]",
            "sys.path[1:] = [archive, *sys.path[1:]]",
            "import platform",
            "print(platform.system(), platform.uname.__code__.co_filename)",
        ]
    )
    assert "library.zip" in output(python, "-c", code, str(tmp_path))


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, platform; print([m for m in ('torch', 'ray', 'mlflow', 'qrlora_search') if m in sys.modules])"
    assert output(sys.executable, "-c", code).strip() == "[]"


def test_no_launcher_has_the_name_of_something_in_the_standard_module() -> None:
    names = ast.literal_eval(output(sys.executable, "-c", STATE))
    assert launchers()
    assert not set(launchers()) & set(names)


@pytest.mark.parametrize("name", launchers())
def test_a_launcher_runs_the_command_of_its_name(name: str) -> None:
    module = ast.parse((CHECKOUT / "platform" / f"{name}.py").read_text())
    assert f"launch('{name}')" in ast.unparse(module)
    assert len(module.body) <= 3, "a launcher is a docstring, an import and a call"


def test_a_launcher_without_the_package_says_how_to_install_it() -> None:
    result = run(sys.executable, "-S", "-m", "platform.search")  # -S: no installed packages
    assert result.returncode == 2
    assert "pip install" in result.stderr
    assert len(result.stderr.splitlines()) == 1
