"""The packages of a build: ``qrlora_search`` out of ``platform/``, with ``search_spaces/`` as data and
``dashboards/`` as scripts inside it.

A mapping for the one package, not for the folder, makes an editable install expose ``qrlora_search`` alone: a search
path entry for ``platform/`` would make its launchers importable as top-level ``search`` and ``ui``.
"""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages("platform", include=["qrlora_search", "qrlora_search.*"]),
        "qrlora_search.search_spaces",
        "qrlora_search.dashboards",
    ],
    package_dir={
        "qrlora_search": "platform/qrlora_search",
        "qrlora_search.search_spaces": "search_spaces",
        "qrlora_search.dashboards": "dashboards",
    },
)
