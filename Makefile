# `make search` finds a front, `make test` runs every check. Both set up .venv first, and only when something changed.
#   make search ARGS="--task rte --budget 16"
#   make test PYTHON=python3.12

PYTHON ?=
ARGS   ?= --task cola --budget 64
TESTS  ?= tests
SOAK   ?= --drivers 20 --workers 20 --minutes 40

VENV   := .venv
BIN    := $(VENV)/bin
# Set-up is repeated when one of these, or the interpreter asked for, is not what it was.
INPUTS := requirements.lock pyproject.toml setup.py tools/setup
STATE  := $(shell { cat $(INPUTS); echo '$(PYTHON)'; pwd; } | cksum | tr -s ' \t' '-')
READY  := $(VENV)/.installed-$(STATE)

# An environment whose interpreter is gone is made anew, whatever the stamp says.
ifneq ($(shell test -x $(BIN)/python && echo runs),runs)
.PHONY: $(READY)
endif

.PHONY: search test evidence soak ui lock format clean help
.DEFAULT_GOAL := help

search: $(READY) ## set up, then find a front: make search ARGS="--task rte --budget 16"
	$(BIN)/python -m platform.search $(ARGS)

test: $(READY) ## set up, then all checks: format, lint, types, architecture, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/architecture
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/architecture $(TESTS)

# Ray's job server is an extra of its own; the tests of the three nodes, PostgreSQL and cron send it real jobs.
# With CI set nothing may be skipped, PostgreSQL and cron neither. The parts take 2,460 + 120 + 900 s, and 90 s to end, at most.
soak: export CI = true
soak: $(READY) ## within an hour: kill 20 drivers and 20 workers, then nodes and jobs on a cluster; nothing may be lost
	timeout -k 30 2460 $(BIN)/python -m tests.soak.soak $(SOAK)
	timeout -k 30 120 $(BIN)/uv pip install --quiet --python $(BIN)/python \
	  "ray[default]==$$($(BIN)/python -c 'import ray; print(ray.__version__)')"
	timeout -k 30 900 $(BIN)/pytest -q -m 'evidence or not evidence' \
	  $(addprefix tests/integration/,test_kills.py test_cluster.py test_cluster_jobs.py)

evidence: $(READY) ## whole sweeps, kills on Ray and pages in a browser: what takes too long for `make test`
	$(BIN)/pytest -q -m evidence $(TESTS)

ui: $(READY) ## open the MLflow UI on this machine
	$(BIN)/python -m platform.ui

format: $(READY) ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The CUDA packages are left out: torch pins them itself where its build needs them, and a CPU build has none.
lock: $(READY) ## pin the dependencies anew within the ranges of pyproject.toml; UPGRADE=--upgrade for the newest
	cp requirements.lock $(VENV)/resolved.txt
	env -u UV_FIND_LINKS $(BIN)/uv pip compile pyproject.toml --extra embedded --extra dev --universal \
	  --python-version 3.11 --no-annotate --no-header --quiet $(UPGRADE) -o $(VENV)/resolved.txt
	{ echo '# Made by `make lock`: exact versions for Python 3.11 to 3.13.'; \
	  grep -Ev '^(nvidia-|cuda-|triton)' $(VENV)/resolved.txt; } > $(VENV)/new.lock
	mv $(VENV)/new.lock requirements.lock

clean: ## remove the environment and every cache, but no result
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis platform/*.egg-info *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

$(READY):
	@tools/setup "$(PYTHON)" "$(VENV)" "$@"
