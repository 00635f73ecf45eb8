# fleet-sync. Needs python3 >= 3.11 with venv, make and git; everything else is installed into .venv from hash locks.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # what measures time wants the machine for itself
.PHONY: help demo test check lint types coverage mutants deploy-check simulate soak bench bench-short lock format image clean $(VENV)

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------------- set up

$(VENV): $(VENV)/.ready

# Made anew, not updated, when the lock changes: nothing that the lock no longer names stays behind.
$(VENV)/.locked: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fleet-sync needs Python 3.11 or newer, and $(PYTHON) is " + sys.version)'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

# Bytecode is compiled here, so that the command starts quickly even where PYTHONDONTWRITEBYTECODE is set.
$(VENV)/.ready: $(VENV)/.locked pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q worker
	@touch $@

# -------------------------------------------------------------------------------------------------- to use

demo: $(VENV)/.ready ## the whole job on a sandbox: plan, once, and a second once that finds nothing to do
	$(BIN)/fleet-sync demo

SIDE_BY_SIDE := --numprocesses auto --dist worksteal

test: $(VENV)/.ready ## the tests, without coverage
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

check: lint types coverage ## everything that must hold before a change goes in

lint: $(VENV)/.ready ## style, layers, Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile

types: $(VENV)/.ready ## mypy --strict
	$(BIN)/mypy --strict

coverage: $(VENV)/.ready ## the tests, with coverage: 90 % of the whole, 100 % of the core
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='worker/core/*' --fail-under=100
	$(BIN)/coverage report

mutants: $(VENV)/.ready ## plants deliberate defects in a copy, and sees that the tests catch each
	$(BIN)/python -m tests.mutants

deploy-check: $(VENV)/.ready ## what deploy/ says, held against schemas, promtool, systemd-analyze and the code
	FLEET_SYNC_TEST_TOOLS=required $(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/deploy

WORLDS ?= 2000

simulate: $(VENV)/.ready ## many simulated worlds (WORLDS=n), none of which breaks a rule; SEED=n plays one and shows it
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--worlds $(WORLDS) --processes 2)

soak: $(VENV)/.ready ## the service for ten minutes and 500 runs, while everything around it changes
	$(BIN)/python -m tests.soak

bench: $(VENV)/.ready ## the benchmarks: ratios against a peer in the same run, and whether they reach their goals
	$(BIN)/python -m benchmarks

bench-short: $(VENV)/.ready ## the same with fewer rounds and smaller numbers, as CI runs them
	$(BIN)/python -m benchmarks --short

# ------------------------------------------------------------------------------------------------- to keep

# In this order, each held to the one before: what runs in production is what was tested.
# `make lock UPGRADE=--upgrade` takes new releases; without it only what pyproject.toml changed moves.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(UPGRADE)

lock: $(VENV)/.ready ## resolve requirements/ again (UPGRADE=--upgrade for new releases)
	$(LOCK) pyproject.toml --extra postgres -o requirements/runtime.txt
	$(LOCK) --group build -c requirements/runtime.txt -o requirements/build.txt
	$(LOCK) pyproject.toml --extra postgres --group dev -c requirements/runtime.txt -c requirements/build.txt -o requirements/dev.txt
	! grep -nE '://|file:|(^| )/|^ *-[^-]' requirements/*.txt # neither an address nor a path

format: $(VENV)/.ready ## rewrite the code in the house style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

image: $(VENV)/.ready ## the container image fleet-sync:VERSION
	version=$$($(BIN)/python -c 'from importlib import metadata; print(metadata.version("fleet-sync"))') && \
	docker build --build-arg VERSION=$$version --build-arg REVISION=$$(git rev-parse HEAD) --tag fleet-sync:$$version .

clean: ## remove everything that make made
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find worker tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +
