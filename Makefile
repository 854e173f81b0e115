# Short forms of commands of uv, cargo and this project. `make` without a target lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Number of tests that run at the same time. Most tests wait for processes, so it may exceed the
# number of cores.
JOBS ?= 4
SDKS_AT_ONCE ?= 3
SIDE_BY_SIDE := -n $(JOBS) --dist loadgroup
FUZZ := native/fuzz
NATIVE_SOURCES := Cargo.toml Cargo.lock native/Cargo.toml $(wildcard native/src/*.rs native/src/*/*.rs)
UV := $(BIN)/uv
# The files in requirements/ contain no index URL: uv uses the index that it is configured with.
export UV_PYTHON_DOWNLOADS := never
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: help
help: ## List every target
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV)/.ready ## Create .venv, install the packages, build the native core; repeats only what has changed

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

# Install the project in editable mode: its commands, and a release build of the native core.
$(VENV)/.ready: $(VENV)/.packages pyproject.toml $(NATIVE_SOURCES)
	@echo "setup: native core"
	$(UV) pip install --quiet --no-deps --no-build-isolation --reinstall-package forebay --editable .
	@touch $@

.PHONY: run
run: setup ## Build what is needed and run the service with an embedded PostgreSQL
	@$(BIN)/forebay dev $(ARGS)

.PHONY: test
test: setup ## Run all tests, with an embedded PostgreSQL or with the server of DATABASE_URL
	@echo "test: native core"
	cargo test --quiet --locked --no-default-features
	@echo "test: fuzz targets of the native core"
	cargo test --quiet --locked --manifest-path $(FUZZ)/Cargo.toml --target-dir target
	@echo "test: suite"
	$(BIN)/python -m pytest -rfEs $(SIDE_BY_SIDE) $(ARGS)

# Not part of `test`: measuring coverage slows down every process that a test starts.
.PHONY: coverage
coverage: setup ## Run all tests and report the lines and branches that no test runs
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -rfEs $(SIDE_BY_SIDE) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --sort=cover

.PHONY: mutations
mutations: setup ## Break each rule of the write path in a copy of the code; a test must fail (4 to 8 minutes)
	@$(BIN)/python -m tests.mutations.run $(ARGS)

# Each stage has a short form in `make test`. A stage that fails does not stop the others.
NIGHTLY_STAGES := simulation fuzz acceptance sdks chaos mutations coverage $(if $(shell grep '^audit:' Makefile),audit)

.PHONY: fuzz
fuzz: fuzz-native fuzz-edge fuzz-http ## Run every fuzzer for a minute per target: make fuzz DURATION=3600

# Fuzzing of the native core. libFuzzer needs a C++ compiler; its counters are compiled into the core
# by the flags below, with the same stable Rust as everything else. Flags for a named target do not
# apply to build scripts.
FUZZ_BUILD := target/fuzz
FUZZ_TARGETS ?= scanner rules rows
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
RUST_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_LIMITS := -timeout=10 -rss_limit_mb=2048 -max_len=4096

.PHONY: fuzz-build
fuzz-build:
	@command -v c++ >/dev/null || { echo "make fuzz-native needs a C++ compiler: install g++ (or clang)." >&2; exit 1; }
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --quiet --locked --manifest-path $(FUZZ)/Cargo.toml \
	  --profile fuzz --features libfuzzer --target $(RUST_HOST) --target-dir $(FUZZ_BUILD)

.PHONY: fuzz-native
fuzz-native: fuzz-build ## Fuzz the native core, each target in turn: make fuzz-native DURATION=3600 FUZZ_TARGETS="scanner rows"
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p $(FUZZ_BUILD)/found/$$target $(FUZZ_BUILD)/crashes; \
	  echo "fuzz: [$$(date +%T)] $$target for $${DURATION-60} seconds"; \
	  $(FUZZ_BUILD)/$(RUST_HOST)/fuzz/$$target $(FUZZ_LIMITS) -max_total_time=$${DURATION-60} \
	    -dict=$(FUZZ)/json.dict -artifact_prefix=$(FUZZ_BUILD)/crashes/$$target- \
	    -print_final_stats=1 -verbosity=0 $(FUZZ_BUILD)/found/$$target $(FUZZ)/corpus/$$target; \
	done

.PHONY: fuzz-corpus
fuzz-corpus: fuzz-build ## Add to native/fuzz/corpus those inputs found by `make fuzz-native` that reach new code
	@for target in $(FUZZ_TARGETS); do \
	  $(FUZZ_BUILD)/$(RUST_HOST)/fuzz/$$target $(FUZZ_LIMITS) -merge=1 -max_len=512 -use_counters=0 \
	    -verbosity=0 $(FUZZ)/corpus/$$target $(FUZZ_BUILD)/found/$$target; \
	done
	@du -s --apparent-size -h $(FUZZ)/corpus

# Fuzzing of the HTTP side: the edge of a worker, and a running service. `make test` has the short
# forms. A run ends with an input that fails, and saves it in tests/corpus.
FUZZ_PYTEST = FUZZ_DURATION_S=$${DURATION-60} $(BIN)/python -m pytest -q -s -n0 --timeout=0 --tb=short

.PHONY: fuzz-edge
fuzz-edge: setup ## Fuzz the edge with requests: make fuzz-edge DURATION=3600
	$(FUZZ_PYTEST) tests/fuzz/test_edge.py

.PHONY: fuzz-http
fuzz-http: setup ## Fuzz a running service over raw connections: make fuzz-http DURATION=3600
	$(FUZZ_PYTEST) tests/fuzz/test_http.py

.PHONY: nightly
nightly: setup ## Run the slow tests: 10,000 seeds, long fuzzing, long fault runs, all mutations, coverage (2 to 3 hours)
	@failed=; for stage in $(NIGHTLY_STAGES); do \
	  echo "nightly: [$$(date +%T)] $$stage"; \
	  $(MAKE) --no-print-directory nightly-$$stage || failed="$$failed $$stage"; \
	done; \
	[ -z "$$failed" ] || { echo "nightly: [$$(date +%T)] failed:$$failed"; exit 1; }; \
	echo "nightly: [$$(date +%T)] every stage passed"

.PHONY: nightly-simulation nightly-fuzz nightly-acceptance nightly-sdks nightly-chaos nightly-mutations nightly-coverage nightly-audit
nightly-simulation:
	NIGHTLY=1 $(BIN)/python -m pytest -q tests/simulation
nightly-fuzz:
	PROPTEST_CASES=20000 cargo test --quiet --locked --no-default-features
	DURATION=$${DURATION-600} $(MAKE) --no-print-directory fuzz
	NIGHTLY=1 $(BIN)/python -m pytest -q -rfEs $(SIDE_BY_SIDE) tests/native tests/integration
nightly-acceptance:
	NIGHTLY=1 $(BIN)/python -m pytest -q -rfEs $(SIDE_BY_SIDE) tests/acceptance
nightly-sdks: sdks
nightly-chaos: chaos
nightly-mutations: mutations
nightly-coverage: coverage
# Without the advisory databases the audit says so and ends with 3, which is not a fault of the code.
nightly-audit: audit-tools
	$(BIN)/python -m tests.audit || [ $$? = 3 ]

.PHONY: e2e
e2e: setup ## Run acceptance and SDK tests against a deployment, which stores their events: make e2e URL=https://… KEY=fb1_…
	@[ -n "$${URL-}" ] && [ -n "$${KEY-}" ] || { echo "URL and KEY are required: make e2e URL=https://… KEY=fb1_…" >&2; exit 2; }
	@E2E_URL="$$URL" E2E_KEY="$$KEY" $(BIN)/python -m pytest --tb=short -rfEs tests/acceptance/test_e2e.py $(ARGS)

# `make test` runs two SDKs of each side. What cannot be installed is reported as "not run".
.PHONY: sdks
sdks: setup ## Run every SDK against the service and write the table of the README (12 minutes): make sdks ARGS="-k java"
	@SDKS=all $(BIN)/python -m pytest -q --tb=short -rfEs -n $(SDKS_AT_ONCE) --dist loadgroup --ignore tests/sdks/test_results.py tests/sdks $(ARGS) || failed=1; \
	  $(BIN)/python -m tests.sdks.results; exit $${failed-0}

.PHONY: chaos
chaos: setup ## Run the long fault tests (half an hour; make test runs the short ones): make chaos KILLS=200
	@NIGHTLY=1 CHAOS_KILLS="$${KILLS-200}" $(BIN)/python -m pytest -q -s --tb=short tests/chaos $(ARGS)

.PHONY: check
check: setup ## Run linters, type checks and import contracts, for Python and Rust
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest service._native
	$(BIN)/lint-imports
	cargo fmt --check
	cargo clippy --quiet --locked --all-targets -- -D warnings
	cargo clippy --quiet --locked --all-targets --no-default-features -- -D warnings
	cargo fmt --check --manifest-path $(FUZZ)/Cargo.toml
	cargo clippy --quiet --locked --all-targets --manifest-path $(FUZZ)/Cargo.toml --target-dir target -- -D warnings

.PHONY: format
format: setup ## Format Python and Rust
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	cargo fmt
	cargo fmt --manifest-path $(FUZZ)/Cargo.toml

.PHONY: columns
columns: setup ## Generate every list of event columns from native/columns.toml
	@$(BIN)/python native/columns.py

.PHONY: provision
provision: setup ## Manage tenants, workspaces and keys: make provision ARGS="tenant create acme"
	@$(BIN)/provision $(ARGS)

.PHONY: up
up: ## Build, migrate and serve in containers, with PostgreSQL in a container
	docker compose up --build --detach --wait forebay
	@docker compose port forebay 8000 | sed 's|^|Forebay is ready at http://|'
	@echo "make seed creates a demo tenant and prints its key; make logs follows the log."

.PHONY: seed
seed: ## Create a demo tenant in the containers and print its key
	docker compose exec forebay provision seed

.PHONY: logs
logs: ## Follow the log of the service in its container
	docker compose logs --follow --tail=100 forebay

.PHONY: down
down: ## Stop the containers; their data stays
	docker compose down

.PHONY: lock
lock: $(VENV)/.tools ## Update the versions and hashes of Python packages in requirements/
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group tools -o requirements/tools.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements/run.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group dev --extra dev pyproject.toml -o requirements/dev.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --constraints requirements/dev.txt --group peers -o requirements/peers.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --constraints requirements/dev.txt --group bench -o requirements/bench.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group load -o requirements/load.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group sdks -o requirements/sdks.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group sdks-old -o requirements/sdks-old.txt
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --group audit -o requirements/audit.txt

# The services that the benchmark compares Forebay with. They are installed into .venv, in versions
# compatible with its packages.
$(VENV)/.peers: $(VENV)/.packages requirements/peers.txt
	@echo "setup: peers"
	$(UV) pip install --quiet --require-hashes -r requirements/peers.txt
	@touch $@

.PHONY: peers
peers: setup $(VENV)/.peers ## Install the services that the benchmark compares Forebay with, and run their tests
	$(BIN)/python -m pytest bench/peers $(ARGS)

# In an environment of its own: locust includes a pytest plugin that monkey-patches every test run.
$(VENV)/.load: $(VENV)/.packages requirements/load.txt
	@echo "setup: locust"
	$(PYTHON) -m venv --clear $(VENV)/load
	$(UV) pip sync --quiet --require-hashes --python $(VENV)/load/bin/python requirements/load.txt
	@touch $@

.PHONY: load
load: setup $(VENV)/.load ## Simulate users with Locust: make load USERS=20 DURATION=30; URL=https://… KEYS="fb1_… fb1_…" sends their events to a deployment
	@$(BIN)/python -m bench.load --users "$${USERS-20}" --duration "$${DURATION-30}" --url "$${URL-}" --keys "$${KEYS-}" $(ARGS)

# The packages that draw the plots. They are installed into .venv, in versions compatible with its
# packages.
$(VENV)/.bench: $(VENV)/.packages requirements/bench.txt
	@echo "setup: plots"
	$(UV) pip install --quiet --require-hashes -r requirements/bench.txt
	@touch $@

.PHONY: bench
bench: setup $(VENV)/.peers $(VENV)/.bench ## Run the benchmark with its own PostgreSQL (half an hour); writes bench/README.md; ARGS="growth memory": only the long runs
	@command -v wrk >/dev/null || echo "bench: wrk is not installed (apt-get install wrk), so only the load generator of this project measures the peak rate"
	$(BIN)/python -m bench.run $(ARGS)
	$(BIN)/python -m bench.render

.PHONY: bench-short
bench-short: setup $(VENV)/.peers ## Check the performance limits only (under 2 minutes)
	$(BIN)/python -m pytest -q --benchmark-enable --benchmark-columns=min,median,rounds bench/micro bench/gates $(ARGS)

# In an environment of its own. cargo-deny and cargo-cyclonedx are compiled, which takes minutes.
CARGO_DENY := 0.20.2
CARGO_CYCLONEDX := 0.5.9
AUDIT := $(VENV)/audit
$(AUDIT)/.packages: $(VENV)/.tools requirements/audit.txt
	@echo "setup: pip-audit and cyclonedx-py"
	$(PYTHON) -m venv --clear $(AUDIT)
	$(UV) pip sync --quiet --require-hashes --python $(AUDIT)/bin/python requirements/audit.txt
	@touch $@
$(AUDIT)/.deny-$(CARGO_DENY): | $(AUDIT)/.packages
	@echo "setup: cargo-deny (some minutes)"
	cargo install --quiet --locked --force --root $(AUDIT) cargo-deny --version $(CARGO_DENY)
	@touch $@
$(AUDIT)/.cyclonedx-$(CARGO_CYCLONEDX): | $(AUDIT)/.packages
	@echo "setup: cargo-cyclonedx (some minutes)"
	cargo install --quiet --locked --force --root $(AUDIT) cargo-cyclonedx --version $(CARGO_CYCLONEDX)
	@touch $@

.PHONY: audit audit-tools
audit-tools: setup $(AUDIT)/.packages $(AUDIT)/.deny-$(CARGO_DENY)
audit: audit-tools ## Check all dependencies for known vulnerabilities and for their licences; says what could not be checked
	@$(BIN)/python -m tests.audit

# In an environment with the packages of the service and nothing else.
VERSION := $(shell sed -n 's/^version = "\(.*\)" .*/\1/p' native/Cargo.toml)
.PHONY: sbom
sbom: setup $(AUDIT)/.packages $(AUDIT)/.cyclonedx-$(CARGO_CYCLONEDX) ## List the packages and crates of the service as CycloneDX, in dist/
	@mkdir -p dist
	$(UV) venv --quiet --clear --no-project --python $(PYTHON) $(AUDIT)/service
	$(UV) pip sync --quiet --require-hashes --python $(AUDIT)/service/bin/python requirements/run.txt
	$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --output-file dist/forebay-$(VERSION)-python.cdx.json $(AUDIT)/service/bin/python
	SOURCE_DATE_EPOCH=0 PATH="$(CURDIR)/$(AUDIT)/bin:$$PATH" cargo cyclonedx --quiet --manifest-path native/Cargo.toml --all-features \
	  --format json --spec-version 1.5 --override-filename sbom
	@sed 's|file://$(CURDIR)|file://.|g' native/sbom.json >dist/forebay-$(VERSION)-native.cdx.json
	@rm native/sbom.json
	@ls -l dist/*.cdx.json

.PHONY: clean
clean: ## Remove build output; data and .venv stay
	rm -rf target dist service/*.so .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f $(VENV)/.ready
