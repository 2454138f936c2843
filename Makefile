# Everything happens in .venv; stamp files there make a second call instant.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHONS := python3.14 python3.13 python3.12 python3.11 python3
PYTHON ?=
SECONDS ?=
SEED ?=
# Most tests wait for something: twice the two cores of a small machine.
WORKERS ?= 4
PROFILE ?= default
QUEUES := benchmarks/.venv
BULLMQ := benchmarks/contenders/bullmq
NODE := tests/node
UV := uv>=0.9,<1

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
PYTEST := -m pytest -n $(WORKERS) --dist=worksteal --hypothesis-profile=$(PROFILE)

# What is set for other programs must not reach ours: .venv has its own packages and takes no installation elsewhere.
# Containers often forbid to keep compiled modules; the tests start hundreds of processes, and sooner with them.
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONDONTWRITEBYTECODE PIP_TARGET PIP_PREFIX PIP_ROOT
export PIP_USER := 0
export PIP_REQUIRE_HASHES := 0
export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: $(VENV)/.installed  ## Create .venv with everything for use and development
	@echo "Ready: $(BIN)/location-worker --help"

.PHONY: demo
demo: $(VENV)/.runtime  ## Run the demo with its own Redis and a simulated Linq (SECONDS=60 stops it)
	@$(BIN)/python -m worker demo $(if $(SECONDS),--seconds $(SECONDS))

# In the background a shell makes its children deaf to Ctrl-C, so they get SIGTERM from here. The last of the Procfile,
# the worker, is waited for first: its end takes the others with it.
.PHONY: run
run: $(VENV)/.installed  ## Run the processes of the Procfile, with settings from the environment and .env
	@PATH="$(CURDIR)/$(BIN):$$PATH"; export PATH; processes=; status=0; \
	while IFS=: read -r name command; do $$command & processes="$$! $$processes"; done < Procfile; \
	trap 'kill -TERM $$processes 2>/dev/null' INT TERM; \
	for process in $$processes; do \
		wait $$process; code=$$?; \
		if [ $$code -gt 128 ] && kill -0 $$process 2>/dev/null; then wait $$process; code=$$?; fi; \
		[ $$status -ne 0 ] || status=$$code; \
		kill -TERM $$processes 2>/dev/null; \
	done; \
	exit $$status

.PHONY: test
test: $(VENV)/.installed node-packages  ## Run all tests with coverage (TESTS=tests/linq for some, PROFILE=thorough for more examples)
	@$(BIN)/python $(PYTEST) --cov --cov-report=term:skip-covered $(TESTS)

.PHONY: test-quick
test-quick: $(VENV)/.installed  ## Run the tests that start no processes, in under a minute
	@$(BIN)/python $(PYTEST) -m "not acceptance" --ignore=tests/acceptance $(TESTS)

# What cannot be installed is left out, and the tests say so.
.PHONY: node-packages
node-packages:  ## Install the npm packages that some tests need
	@$(MAKE) --silent $(NODE)/node_modules/.installed || echo "No packages for Node: tests that need them are skipped" >&2

.PHONY: check
check: format lint types  ## Run everything that must pass: format, lint, imports, types, tests
	@$(MAKE) --no-print-directory test

.PHONY: format
format: $(VENV)/.installed
	@$(BIN)/ruff format --check .

.PHONY: lint
lint: $(VENV)/.installed
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

.PHONY: types
types: $(VENV)/.installed
	@$(BIN)/mypy

.PHONY: chaos
chaos: $(VENV)/.installed  ## Break things at random and check every promise (SECONDS=60, SEED=7 repeats a run)
	@$(BIN)/python -m chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

.PHONY: bench
bench: bench-install  ## Run the benchmarks (PART=speed for one part, OPTIONS=--quick for a rough look)
	@$(BIN)/python -m benchmarks $(PART) $(OPTIONS)

# What cannot be installed is left out of the comparison, which says so.
.PHONY: bench-install
bench-install: $(VENV)/.installed  ## Install the queues that the benchmarks compare with
	@$(MAKE) --silent $(QUEUES)/.installed || echo "The Python queues are not installed: skipped" >&2
	@$(MAKE) --silent $(BULLMQ)/node_modules/.installed || echo "BullMQ is not installed: skipped" >&2

$(QUEUES)/.installed: requirements/benchmarks.txt
	@echo "Installing the Python queues"
	@$(BIN)/python -m venv $(QUEUES)
	@$(QUEUES)/bin/python -m pip --disable-pip-version-check --no-input --quiet install --require-hashes -r $<
	@touch $@

%/node_modules/.installed: %/package.json
	@command -v npm >/dev/null || { echo "npm was not found (Node 20 or newer has it)" >&2; exit 1; }
	@echo "Installing the packages of $<"
	@cd $* && HOME="$${HOME:-$(CURDIR)}" npm install --cache "$(CURDIR)/$(VENV)/npm" --no-package-lock --ignore-scripts \
		--no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

.PHONY: documents
documents: $(VENV)/.installed  ## Generate what docs/ takes from the code: schemas, AsyncAPI, OpenAPI, the plot of costs
	@$(BIN)/python -m tests.support.schemas
	@$(BIN)/python -m tests.support.documents
	@$(BIN)/python -m benchmarks.estimate docs/estimate.svg

.PHONY: pictures
pictures: $(VENV)/.installed  ## Draw the README's pictures from real runs of the demo (the map needs Chromium)
	@$(BIN)/python -m worker demo --seconds $(or $(SECONDS),75) --picture docs/demo.svg
	@$(BIN)/python -m tests.support.picture docs/map.png

# Extras stay in the locks: pip before 23.3 does not carry the pin of `redis` over to `redis[hiredis]`.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header \
	--no-emit-index-url --no-emit-package location-client $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: $(VENV)/.installed  ## Update requirements/ from pyproject.toml, keeping versions where possible (UPGRADE=1 renews all)
	@$(PIP) install '$(UV)'
	@$(LOCK) --extra embedded --extra map pyproject.toml -o requirements/runtime.txt
	@$(LOCK) --extra embedded --extra map --group dev -c requirements/runtime.txt pyproject.toml \
		-o requirements/development.txt
	@sed -n '/^[a-z]/ { s/\[[^]]*\]//; s/ \\$$//; p; }' requirements/runtime.txt > requirements/constraints.txt
	@$(LOCK) requirements/benchmarks.in -o requirements/benchmarks.txt

# arq holds the worker to redis-py 5; the client allows more.
.PHONY: check-client
check-client: $(VENV)/.installed  ## Test the client with the oldest and newest dependencies it allows, and its types (needs npm)
	@$(PIP) install '$(UV)'
	@for resolution in lowest-direct highest; do \
		rm -rf $(VENV)/client; \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(VENV)/client --resolution $$resolution ./location_client \
			|| exit; \
		echo "The client with the $$resolution of" $(VENV)/client/*.dist-info; \
		PYTHONPATH=$(VENV)/client $(BIN)/python $(PYTEST) tests/location_client || exit; \
	done
	@npx --yes pyright@1.1 --pythonpath $(BIN)/python tests/support/typed_application.py

# The oldest pip is that of Python 3.11.0; a later Python cannot run it and keeps its own.
OLDEST_PIP := pip==22.3.1; python_version < "3.12"

.PHONY: check-locks
check-locks: check-locks-oldest check-locks-newest  ## Check that the oldest and the newest pip can install the locks

.PHONY: check-locks-oldest check-locks-newest
check-locks-oldest: SET_PIP = '$(OLDEST_PIP)'
check-locks-newest: SET_PIP = --upgrade pip
check-locks-oldest check-locks-newest: check-locks-%: $(VENV)/.created
	@$(BIN)/python -m venv --clear $(VENV)/pip-$*
	@$(VENV)/pip-$*/bin/python -m pip --disable-pip-version-check --no-input --quiet install $(SET_PIP)
	@for lock in runtime development benchmarks; do \
		echo "Resolving requirements/$$lock.txt with pip $$($(VENV)/pip-$*/bin/python -c 'import pip; print(pip.__version__)')"; \
		said=$$($(VENV)/pip-$*/bin/python -m pip --disable-pip-version-check --no-input --quiet install --dry-run \
			--require-hashes -r requirements/$$lock.txt 2>&1) && continue; \
		echo "$$said" >&2; \
		case "$$lock $$said" in \
		benchmarks*"No matching distribution found"*) echo "Not every package of the benchmarks can be had: left out" >&2 ;; \
		*) exit 1 ;; \
		esac; \
	done
	@$(VENV)/pip-$*/bin/python -m pip --disable-pip-version-check --no-input --quiet install --dry-run -r requirements.txt

# Not part of `check`: whoever releases something may break the first. The locks are not looked at, as nothing is
# installed from them.
.PHONY: check-newest check-oldest
check-newest: RESOLUTION = highest
check-newest:  ## Run the quick tests with the newest dependencies that pyproject.toml allows
check-oldest: RESOLUTION = lowest-direct
check-oldest:  ## Run the quick tests with the oldest ones
check-newest check-oldest: check-%: $(VENV)/.created
	@$(PIP) install '$(UV)'
	@$(BIN)/python -m venv --clear $(VENV)/$*
	@$(BIN)/uv pip install --quiet --python $(VENV)/$*/bin/python --resolution $(RESOLUTION) --group dev '.[embedded,map]'
	@$(VENV)/$*/bin/python $(PYTEST) -m "not acceptance" --ignore=tests/packaging/test_locks.py $(TESTS)

.PHONY: clean
clean:  ## Remove .venv, caches and reports
	@rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist \
		$(QUEUES) $(BULLMQ)/node_modules $(NODE)/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv that was moved or copied here still points to its old folder, which the stamp holds, and one whose Python is
# gone does nothing at all: both are made anew. One that somebody made here without make is kept.
.PHONY: stale
STALE := $(shell [ ! -d $(VENV) ] || \
	{ [ -x $(BIN)/python ] && [ "$$(cat $(VENV)/.created 2>/dev/null)" = "$$(pwd -P)/$(VENV)" ]; } || echo stale)

# The newest Python that is new enough and can make virtual environments, or a word about what is missing.
NEW_ENOUGH := 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'
$(VENV)/.created: $(STALE)
	@if [ "$$(cat $@ 2>/dev/null)" = "" ] && $(BIN)/python -c $(NEW_ENOUGH) 2>/dev/null && \
			$(BIN)/python -m pip --version >/dev/null 2>&1 && grep -qF "$$(pwd -P)/$(VENV)" $(BIN)/activate; then \
		echo "$$(pwd -P)/$(VENV)" > $@; exit; \
	fi; \
	found=; bare=; \
	for python in $(or $(PYTHON),$(PYTHONS)); do \
		"$$python" -c $(NEW_ENOUGH) 2>/dev/null || continue; \
		if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
		bare=$${bare:-$$python}; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
		echo "$$bare cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" \
			"(or $$("$$bare" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')), then make again." >&2; \
		exit 1; \
	elif [ -z "$$found" ]; then \
		echo "No Python 3.11 to 3.14 was found (looked for: $(or $(PYTHON),$(PYTHONS)))." \
			"Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv --clear $(VENV) && echo "$$(pwd -P)/$(VENV)" > $@

# Enough for the demo: `python -m worker` needs no build back end, so it starts sooner.
$(VENV)/.runtime: requirements/runtime.txt $(VENV)/.created
	@echo "Installing what the worker needs"
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/.installed: requirements/development.txt pyproject.toml location_client/pyproject.toml $(VENV)/.created
	@echo "Installing everything for development"
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation -e ./location_client -e .
	@touch $@ $(VENV)/.runtime
