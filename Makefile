# Grantry: `make run` starts everything, `make test` tests everything. Needs Python 3.11+, git and make.

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL = $(PY) -m pip install --disable-pip-version-check --no-input --require-hashes --no-deps
# The first interpreter that is new enough; PYTHON=… chooses another.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && { echo $$p; break; }; \
	done)

.DEFAULT_GOAL := help
.PHONY: help install install-dev run test faults catalogue lint fmt lock bench ci

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.run-installed  ## make .venv and install what requirements.lock pins
	@true

install-dev: $(VENV)/.dev-installed
	@true

$(PY):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found. Install it, or name it: PYTHON=/path/to/python make …"; exit 1; }
	@echo "Making $(VENV) with $(PYTHON) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module does not work here. On Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.run-installed: requirements.lock | $(PY)
	@echo "Installing what requirements.lock pins; this takes a minute or two the first time …"
	@$(PIP_INSTALL) -r requirements.lock
	@touch $@

$(VENV)/.dev-installed: requirements-dev.lock $(VENV)/.run-installed
	@echo "Installing what the tests need …"
	@$(PIP_INSTALL) -r requirements-dev.lock
	@touch $@

run: install  ## start web, worker, beat and sandbox (PORT=9000 make run moves them); Ctrl-C stops them
	@$(if $(PORT),PORT=$(PORT) )GRANTRY_STOP_WITH_PARENT=1 exec $(PY) manage.py up $(ARGS)

# A worker more than cores: many tests wait for processes. Files keep their order, so that the long ones begin first
# (BEGIN_FIRST in tests/conftest.py).
PARALLEL = -n $(shell $(PY) -c 'import os; print((os.cpu_count() or 1) + 1)') --dist loadfile --no-loadscope-reorder

test: install-dev  ## run the tests (ARGS="-k word" chooses some)
	@$(PY) -m pytest $(PARALLEL) $(ARGS)

# They wait more than they compute, but some have to be quicker than a call's ten seconds: two at a time, whatever the
# machine.
faults: install-dev  ## kill processes, stop PostgreSQL and Redis, and count refresh tokens (minutes)
	@$(PY) -m pytest tests/faults -m faults -n 2 --dist worksteal $(ARGS)

# Under made-up production settings, so that a fresh clone needs none of its own.
catalogue: install-dev  ## check the provider files and write their table into docs/providers.md
	@$(PY) -m tests.runtime.deployment check --tag catalogue
	@$(PY) -m tests.runtime.deployment provider_table --write

lint: install-dev  ## style, types, direction of imports, migrations, deployment settings
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy .
	$(VENV)/bin/lint-imports
	$(PY) -m tests.runtime.deployment makemigrations --check --dry-run
	$(PY) -m tests.runtime.deployment check --deploy --fail-level WARNING

fmt: install-dev  ## let ruff put the style right
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# Hashes and no addresses: the locks work behind any mirror.
UV_COMPILE = $(VENV)/bin/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11
lock: install-dev  ## pin anew what pyproject.toml wants
	$(UV_COMPILE) $(ARGS) pyproject.toml -o requirements.lock
	$(UV_COMPILE) $(ARGS) pyproject.toml --group dev -o requirements-dev.lock

bench: install-dev  ## measure (tests/benchmarks)
	@$(PY) -m pytest tests/benchmarks -m benchmark -q -p no:cacheprovider $(ARGS)

ci:  ## everything, as the build server does it
	.ci/run
