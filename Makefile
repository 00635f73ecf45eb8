# fleet-sync. Needs python3 >= 3.11 with venv, make and git; everything else is installed into .venv from hash locks.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # benchmarks and coverage need the machine to themselves
.PHONY: help demo test-fast test test-all check lint types imports coverage real mutants mutants-generated deploy-check
.PHONY: simulate kills kills-late network-cut soak storm storm-unfenced storm-moved storm-outage readers-load bench bench-large bench-short lock pictures format wheel image clean $(VENV)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------------- set up

# Three steps, each a file in .venv: .runtime (what runs, and the build backend), .ready (fleet-sync itself) and .dev
# (the developer tools). `make demo` needs the first two, everything else all three.

PIP := $(BIN)/python -m pip --disable-pip-version-check

$(VENV): $(VENV)/.dev

# A changed lock rebuilds .venv instead of updating it, so that no package stays that the lock no longer names.
$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fleet-sync needs Python 3.11 or newer, and $(PYTHON) is " + sys.version)'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@touch $@

# Compile the bytecode here: it makes the command start quickly even where PYTHONDONTWRITEBYTECODE is set.
$(VENV)/.ready: $(VENV)/.runtime pyproject.toml
	$(PIP) install --quiet --no-index --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q worker
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.ready
	if [ -e $@ ] && [ $< -nt $@ ]; then rm -rf $(VENV) && $(MAKE) --no-print-directory $(VENV)/.ready; fi
	$(PIP) install --require-hashes -r $<
	@touch $@

# ------------------------------------------------------------------------------------------------- to use

demo: $(VENV)/.ready ## see it work: plan and apply against a sandbox, then a second run that finds nothing to do
	$(BIN)/fleet-sync demo

# ------------------------------------------------------------------------------------------------- to test

# tests/README.md says what the markers and the profiles mean.
SIDE_BY_SIDE := --numprocesses auto --dist worksteal
# Many tests wait for a command that they started: with one process more than cores, no core waits with them.
ALL_AT_ONCE := --numprocesses $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist worksteal
# Bytecode is kept even where the environment forbids it: without it, each run compiles the tests for ten seconds.
KEEP_BYTECODE := PYTHONDONTWRITEBYTECODE=
PYTEST := $(KEEP_BYTECODE) $(BIN)/python -m pytest $(SIDE_BY_SIDE)

# In tests this short, no thread watches for a hang.
test-fast: $(VENV)/.dev ## run the unit tests with few examples: half a minute
	$(PYTEST) -o faulthandler_timeout=0 --hypothesis-profile fast -m 'not integration and not slow and not real and not second_loop'

test: $(VENV)/.dev ## run all tests that need no server, without coverage: three minutes
	$(PYTEST) $(ALL_AT_ONCE) --hypothesis-profile ci -m 'not slow and not real'

test-all: $(VENV)/.dev ## run every test, with new random examples
	$(PYTEST) --hypothesis-profile nightly

real: $(VENV)/.dev ## run the tests against real servers and programs: PostgreSQL, a browser, promtool …
	$(PYTEST) --hypothesis-profile ci -m 'real and not slow'

check: lint types imports coverage real ## check everything that must hold before a change is merged

lint: $(VENV)/.dev ## check style, layers and Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile

types: $(VENV)/.dev ## check types with mypy --strict
	$(BIN)/mypy --strict

imports: $(VENV)/.dev ## check that every imported package is declared, and every declared one imported
	$(BIN)/deptry .

coverage: $(VENV)/.dev ## run `make test` with branch coverage: 90 % of the whole, 100 % of the core
	$(BIN)/coverage erase
	$(KEEP_BYTECODE) $(BIN)/coverage run -m pytest $(ALL_AT_ONCE) --hypothesis-profile ci -m 'not slow and not real'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='worker/core/*' --fail-under=100
	$(BIN)/coverage report

mutants: $(VENV)/.dev ## plant known defects in a copy and check that the tests catch each; RANDOM=n plants only some
	$(BIN)/python -m tests.mutants $(if $(RANDOM),--random $(RANDOM))

mutants-generated: $(VENV)/.dev ## plant 100 new random mutants of worker/ and check that the tests catch 90 of them
	$(BIN)/python -m tests.mutants.generated

deploy-check: $(VENV)/.dev ## check deploy/ against schemas, promtool, systemd-analyze and the code
	FLEET_SYNC_TEST_TOOLS=required $(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/deploy

WORLDS ?= 2000
FIRST ?= $(shell $(PYTHON) -c 'import secrets; print(secrets.randbelow(10**8))')

simulate: $(VENV)/.dev ## play new simulated worlds (WORLDS=n), none of which may break a rule; SEED=n replays one
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--first $(FIRST) --worlds $(WORLDS))

ACCOUNTS ?= 1000
SECONDS ?= 600

storm: $(VENV)/.dev ## stop and kill the workers of a cluster for ten minutes (ACCOUNTS=n, SECONDS=n, SEED=n)
	$(BIN)/python -m tests.storm --accounts $(ACCOUNTS) --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

storm-unfenced: $(VENV)/.dev ## the same without the fence, in a copy: it must show stale writes
	$(BIN)/python -m tests.storm.unfenced

storm-moved: $(VENV)/.dev ## move an account with too many changes from worker to worker, every 5 s for 2 minutes
	$(BIN)/python -m tests.storm.moved

storm-outage: $(VENV)/.dev ## let Charge be away for 3 minutes, and 300 accounts catch up
	$(BIN)/python -m tests.storm.outage

readers-load: $(VENV)/.dev ## measure writes, runs and probes of the service while 100 clients read its page
	$(BIN)/python -m tests.readers_load

soak: $(VENV)/.dev ## run the service for ten minutes and 500 runs, while everything around it changes
	$(BIN)/python -m tests.soak

bench: $(VENV)/.dev ## run the benchmarks, for 15 minutes at most: ratios against a peer, and whether they reach their goals
	$(BIN)/python -m benchmarks --minutes 15

bench-large: $(VENV)/.dev ## run the benchmarks of large accounts: up to a million drivers, rows and changes
	$(BIN)/python -m benchmarks large growth

bench-short: $(VENV)/.dev ## run the benchmarks with fewer rounds and smaller numbers
	$(BIN)/python -m benchmarks --short

# ------------------------------------------------------------------------------------------------- to keep

# Each lock is constrained by the ones before it: what runs in production is what was tested.
# `make lock UPGRADE=--upgrade` takes new releases; without it, only packages that pyproject.toml changed move.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(UPGRADE)
EXTRAS := --extra cluster --extra object --extra postgres --extra sftp

lock: $(VENV)/.dev ## resolve requirements/ again (UPGRADE=--upgrade for new releases)
	$(LOCK) pyproject.toml $(EXTRAS) -o requirements/runtime.txt
	$(LOCK) --group build -c requirements/runtime.txt -o requirements/build.txt
	$(LOCK) pyproject.toml $(EXTRAS) --group dev -c requirements/runtime.txt -c requirements/build.txt -o requirements/dev.txt
	! grep -nE '://|file:|(^| )/|^ *-[^-]' requirements/*.txt # neither an address nor a path

pictures: $(VENV)/.dev ## draw the pictures of the README again, with Chromium
	$(BIN)/python -m tests.pictures

format: $(VENV)/.dev ## rewrite the code in the house style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

wheel: $(VENV)/.runtime ## build a wheel of fleet-sync in dist/
	$(PIP) wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir dist .

image: $(VENV)/.dev ## build the container image fleet-sync:VERSION
	version=$$($(BIN)/python -c 'from importlib import metadata; print(metadata.version("fleet-sync"))') && \
	docker build --build-arg VERSION=$$version --build-arg REVISION=$$(git rev-parse HEAD) --tag fleet-sync:$$version .

clean: ## remove everything that make creates
	rm -rf .venv .venv-* build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find worker tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

# --------------------------------------------------------------------------------------------- long tests

KILLS ?= 200

kills: $(VENV)/.ready ## SIGKILLs at random moments of an apply (KILLS=n), on SQLite and on PostgreSQL
	FLEET_SYNC_TEST_KILLS=$(KILLS) $(BIN)/python -m pytest -s tests/e2e/test_crashes.py

kills-late: $(VENV)/.ready ## 20 kills while Charge carries writes out 1 to 30 s late, in four accounts at once
	$(BIN)/python -m pytest -s -n 4 tests/e2e/test_late_kills.py

network-cut: $(VENV)/.ready ## a service whose network to PostgreSQL is cut for 60 s, and one that takes over; as root
	$(BIN)/python -m tests.journal.network_cut
