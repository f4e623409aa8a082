"""The standard library's ``platform`` module, plus this project's commands as submodules.

``python -m platform.search`` needs a package called ``platform`` in the working directory, and that folder then hides
the standard module from everything else that runs there (torch, ray and mlflow all import it). So this package *is*
the standard module: it executes the standard library's own code in its own namespace. Only ``__doc__`` and what the
import system set (``__name__``, ``__path__``, ``__spec__``, ``__file__``) stay those of the package.
"""


def _become_the_standard_module() -> None:
    """Fill this namespace with what the standard library's ``platform`` defines; ImportError where there is none."""
    import os
    import sys
    import sysconfig
    from importlib.machinery import PathFinder

    checkout = os.path.realpath(os.path.dirname(__path__[0]))
    # The standard library's folder first; a zipped one is found on sys.path, where this checkout must be passed over.
    folders = [sysconfig.get_path("stdlib"), *(entry for entry in sys.path if os.path.realpath(entry) != checkout)]
    spec = PathFinder.find_spec("platform", folders)
    get_code = getattr(spec.loader, "get_code", None) if spec else None
    code = get_code("platform") if get_code else None
    if code is None:
        raise ImportError("the standard library's platform module was not found", name="platform")
    namespace = globals()
    doc = namespace["__doc__"]
    exec(code, namespace)  # the standard library's own code, wherever this interpreter keeps it
    namespace["__doc__"] = doc


_become_the_standard_module()
del _become_the_standard_module
