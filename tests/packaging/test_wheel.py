"""What an installation exposes: ``qrlora_search``, its search spaces and one command, from any folder, and no more."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SPACES = sorted(str(path.relative_to(CHECKOUT)) for path in CHECKOUT.glob("search_spaces/**/*.toml"))
PACKAGED = ("platform", "search_spaces", "dashboards", "pyproject.toml", "setup.py", "README.md")
LOOK = """
import importlib.util, json, platform, sys
names = ["qrlora_search", *sys.argv[1:]]
print(json.dumps({"platform": platform.__file__, "found": [n for n in names if importlib.util.find_spec(n)]}))
"""


def run(*command: str | Path, folder: Path) -> str:
    """Return what a command printed; fail the test with all of it where the command fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what is packaged, so that builds leave nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in PACKAGED:
        path = CHECKOUT / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif path.exists():
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    code = f"import setuptools.build_meta as backend; backend.build_sdist({str(folder)!r})"
    run(sys.executable, "-c", code, folder=source)
    (archive,) = folder.glob("*.tar.gz")
    return archive


def build_wheel(source: Path, folder: Path) -> Path:
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, source, folder=folder)
    (archive,) = folder.glob("*.whl")
    return archive


def install(what: Path, folder: Path, *options: str) -> Path:
    """Return the folder of programs of a new environment that has ``what``, and the libraries of this one."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(ours) + "\n")  # plain entries: this project's own hook is not run
    python = folder / "bin" / "python"
    quiet = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed")
    run(python, "-m", "pip", "install", *quiet, *options, what, folder=folder)
    return folder / "bin"


def exposed(programs: Path) -> list[str]:
    """Return which of the package's and the launchers' names can be imported from another folder."""
    launchers = [path.stem for path in CHECKOUT.glob("platform/*.py") if not path.stem.startswith("__")]
    parts = [path.stem for path in CHECKOUT.glob("platform/qrlora_search/*") if not path.stem.startswith("__")]
    names = {*launchers, *parts, "search", "export", "compare", "sweep", "ui", "search_spaces"} - {"py"}
    look = json.loads(run(programs / "python", "-c", LOOK, *sorted(names), folder=programs))
    assert Path(look["platform"]).name == "platform.py", "the standard module is hidden outside the checkout"
    return list(look["found"])


def test_the_wheel_holds_the_package_and_the_search_spaces_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"qrlora_search"}
    code = [path.relative_to(CHECKOUT / "platform") for path in CHECKOUT.glob("platform/qrlora_search/**/*.py")]
    assert SPACES
    assert {str(path) for path in code} | {f"qrlora_search/{name}" for name in SPACES} <= set(names)


def test_a_wheel_from_the_sdist_holds_the_same(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    again = build_wheel(source, tmp_path)
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_an_installed_wheel_exposes_one_package_and_one_command(wheel: Path, tmp_path: Path) -> None:
    programs = install(wheel, tmp_path / "environment")
    assert exposed(programs) == ["qrlora_search"]
    assert "search" in run(programs / "qrlora-search", "--help", folder=tmp_path)


def test_an_editable_install_exposes_the_same_and_sees_new_packages(source: Path, tmp_path: Path) -> None:
    programs = install(source, tmp_path / "environment", "--editable")
    assert exposed(programs) == ["qrlora_search"]
    assert "search" in run(programs / "qrlora-search", "--help", folder=tmp_path)
    later = source / "platform" / "qrlora_search" / "added_later"
    later.mkdir()
    (later / "__init__.py").write_text("")
    (later / "part.py").write_text("import qrlora_search\nprint(__file__)\n")
    try:
        assert str(source) in run(programs / "python", "-m", "qrlora_search.added_later.part", folder=tmp_path)
    finally:
        shutil.rmtree(later)
