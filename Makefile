# Thin lines over uv, cargo and the project's own commands. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Tests that run at the same time: most of them wait for processes.
JOBS ?= 4
SIDE_BY_SIDE := -n $(JOBS) --dist loadgroup
NATIVE_SOURCES := Cargo.toml Cargo.lock native/Cargo.toml $(wildcard native/src/*.rs native/src/*/*.rs)
UV := $(BIN)/uv
# uv keeps its own index settings; a lock of ours names no address.
export UV_PYTHON_DOWNLOADS := never
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: help
help: ## List every target
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV)/.ready ## Tools, .venv and the native core; nothing to do the second time

$(VENV)/.tools: requirements/tools.txt
	@command -v $(PYTHON) >/dev/null || { echo "Forebay needs Python 3.11 or later: install python3 (3.11+) and run make again." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Forebay needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) -V): install a newer one, or say which with make PYTHON=python3.12." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Forebay needs Python's venv module: install the package python3-venv and run make again." >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "Forebay needs a Rust toolchain to build its native core: install Rust with cargo (rustup) and run make again." >&2; exit 1; }
	@command -v cc >/dev/null || { echo "Forebay needs a C linker for its native core: install gcc (or clang) and run make again." >&2; exit 1; }
	@echo "setup: .venv"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	@touch $@

$(VENV)/.packages: $(VENV)/.tools requirements/dev.txt
	@echo "setup: packages"
	$(UV) pip sync --quiet --require-hashes requirements/dev.txt
	@touch $@

# The project itself, editable: its commands, and the native core built by maturin in release.
$(VENV)/.ready: $(VENV)/.packages pyproject.toml $(NATIVE_SOURCES)
	@echo "setup: native core"
	$(UV) pip install --quiet --no-deps --no-build-isolation --reinstall-package forebay --editable .
	@touch $@

.PHONY: run
run: setup ## From a fresh clone to a running service, its PostgreSQL included
	@$(BIN)/forebay dev $(ARGS)

.PHONY: test
test: setup ## The whole suite, with its own PostgreSQL (or the one of DATABASE_URL)
	@echo "test: native core"
	cargo test --quiet --locked --no-default-features
	@echo "test: suite"
	$(BIN)/python -m pytest -rfEs $(SIDE_BY_SIDE) $(ARGS)

# Not in `test`: the tracer runs in every process of every service that a test starts.
.PHONY: coverage
coverage: setup ## The suite once more, with a report of the lines and branches that no test runs
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -rfEs $(SIDE_BY_SIDE) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --sort=cover

.PHONY: mutations
mutations: setup ## Break each rule of the write path in a copy of the tree: a test must fail (4 to 8 minutes)
	@$(BIN)/python -m tests.mutations.run $(ARGS)

# Each stage has a short form in `make test`. A stage that fails does not stop the others.
NIGHTLY_STAGES := simulation fuzz acceptance chaos mutations coverage $(if $(shell grep '^audit:' Makefile),audit)

.PHONY: nightly
nightly: setup ## What is slow: 10,000 seeds, long fuzzing, long fault runs, all mutations, coverage (1 to 2 hours)
	@failed=; for stage in $(NIGHTLY_STAGES); do \
	  echo "nightly: [$$(date +%T)] $$stage"; \
	  $(MAKE) --no-print-directory nightly-$$stage || failed="$$failed $$stage"; \
	done; \
	[ -z "$$failed" ] || { echo "nightly: [$$(date +%T)] failed:$$failed"; exit 1; }; \
	echo "nightly: [$$(date +%T)] every stage passed"

.PHONY: nightly-simulation nightly-fuzz nightly-acceptance nightly-chaos nightly-mutations nightly-coverage nightly-audit
nightly-simulation:
	NIGHTLY=1 $(BIN)/python -m pytest -q tests/simulation
nightly-fuzz:
	PROPTEST_CASES=20000 cargo test --quiet --locked --no-default-features
	NIGHTLY=1 $(BIN)/python -m pytest -q -rfEs $(SIDE_BY_SIDE) tests/native tests/integration
nightly-acceptance:
	NIGHTLY=1 $(BIN)/python -m pytest -q -rfEs $(SIDE_BY_SIDE) tests/acceptance
nightly-chaos: chaos
nightly-mutations: mutations
nightly-coverage: coverage
nightly-audit: audit

.PHONY: e2e
e2e: setup ## Acceptance and SDK tests against any deployment: make e2e URL=https://… KEY=fb1_… (stores events there)
	@[ -n "$${URL-}" ] && [ -n "$${KEY-}" ] || { echo "Say where and with which key: make e2e URL=https://… KEY=fb1_…" >&2; exit 2; }
	@E2E_URL="$$URL" E2E_KEY="$$KEY" $(BIN)/python -m pytest --tb=short -rfEs tests/acceptance/test_e2e.py $(ARGS)

.PHONY: chaos
chaos: setup ## Faults, the long form: make chaos KILLS=200 (half an hour; its short form is in make test)
	@NIGHTLY=1 CHAOS_KILLS="$${KILLS-200}" $(BIN)/python -m pytest -q -s --tb=short tests/chaos $(ARGS)

.PHONY: check
check: setup ## Lint, types, import contracts, native lints
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest service._native
	$(BIN)/lint-imports
	cargo fmt --check
	cargo clippy --quiet --locked --all-targets -- -D warnings
	cargo clippy --quiet --locked --all-targets --no-default-features -- -D warnings

.PHONY: format
format: setup ## Format Python and Rust
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	cargo fmt

.PHONY: columns
columns: setup ## Write every list of the columns of events from native/columns.toml
	@$(BIN)/python native/columns.py

.PHONY: provision
provision: setup ## Tenants, workspaces and keys: make provision ARGS="tenant create acme"
	@$(BIN)/provision $(ARGS)

.PHONY: up
up: ## The same in containers, with a PostgreSQL of its own: build, migrate, serve
	docker compose up --build --detach --wait forebay
	@docker compose port forebay 8000 | sed 's|^|Forebay is ready at http://|'
	@echo "make seed makes a demo tenant and prints its key; make logs follows the log."

.PHONY: seed
seed: ## In the containers: a demo tenant and its key
	docker compose exec forebay provision seed

.PHONY: logs
logs: ## Of the containers: the log of the service
	docker compose logs --follow --tail=100 forebay

.PHONY: down
down: ## Stop the containers; the data stays
	docker compose down

.PHONY: lock
lock: $(VENV)/.tools ## Pin the Python packages anew, with hashes
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group tools -o requirements/tools.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements/run.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group dev --extra dev pyproject.toml -o requirements/dev.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --constraints requirements/dev.txt --group peers -o requirements/peers.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --constraints requirements/dev.txt --group bench -o requirements/bench.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group load -o requirements/load.txt

# What the benchmark compares with: beside the packages of .venv, in versions that suit them.
$(VENV)/.peers: $(VENV)/.packages requirements/peers.txt
	@echo "setup: peers"
	$(UV) pip install --quiet --require-hashes -r requirements/peers.txt
	@touch $@

.PHONY: peers
peers: setup $(VENV)/.peers ## The peers of the benchmark: their packages, and their tests
	$(BIN)/python -m pytest bench/peers $(ARGS)

# Apart from .venv: locust brings a pytest plugin that patches the world.
$(VENV)/.load: $(VENV)/.packages requirements/load.txt
	@echo "setup: locust"
	$(PYTHON) -m venv --clear $(VENV)/load
	$(UV) pip sync --quiet --require-hashes --python $(VENV)/load/bin/python requirements/load.txt
	@touch $@

.PHONY: load
load: setup $(VENV)/.load ## Locust: make load USERS=20 DURATION=30 (a service of its own, or URL=https://… KEYS="fb1_… fb1_…": stores events there)
	@$(BIN)/python -m bench.load --users "$${USERS-20}" --duration "$${DURATION-30}" --url "$${URL-}" --keys "$${KEYS-}" $(ARGS)

# What draws the plots: beside the packages of .venv, in versions that suit them.
$(VENV)/.bench: $(VENV)/.packages requirements/bench.txt
	@echo "setup: plots"
	$(UV) pip install --quiet --require-hashes -r requirements/bench.txt
	@touch $@

.PHONY: bench
bench: setup $(VENV)/.peers $(VENV)/.bench ## How fast: half an hour, on a PostgreSQL of its own; writes bench/README.md (ARGS="growth memory": the long forms)
	@command -v wrk >/dev/null || echo "bench: wrk is not installed (apt-get install wrk): peaks come from the closed loop alone"
	$(BIN)/python -m bench.run $(ARGS)
	$(BIN)/python -m bench.render

.PHONY: bench-short
bench-short: setup $(VENV)/.peers ## How fast, the gates alone: under 2 minutes
	$(BIN)/python -m pytest -q --benchmark-enable --benchmark-columns=min,median,rounds bench/micro bench/gates $(ARGS)

.PHONY: clean
clean: ## Remove what was built; data and .venv stay
	rm -rf target dist service/*.so .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f $(VENV)/.ready
