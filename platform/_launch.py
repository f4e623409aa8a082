"""What the launchers share: run one command of ``qrlora_search``, or say how to install it."""

import sys


def launch(command: str) -> int:
    """Return the exit status of ``command`` run on this process's arguments; 2 where the package is not installed."""
    try:
        from qrlora_search.app.cli import main
    except ModuleNotFoundError as error:
        if error.name != "qrlora_search":
            raise
        python = sys.executable or "python"
        print(
            f"platform.{command}: qrlora_search is not installed for {python}. Run `make search`, which sets all up, "
            f"or `{python} -m pip install -r requirements.lock -e .` in this folder.",
            file=sys.stderr,
        )
        return 2
    return main([command, *sys.argv[1:]])
