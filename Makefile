# The commands a person needs. Everything runs in .venv, which `make` creates on first use.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# how long `make fuzz` searches for each of its targets
FUZZ_SECONDS ?= 20

.PHONY: help demo test test-slow coverage fuzz mutants check bench docs clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml
	@echo "Creating the environment in $(VENV) (once; about half a minute)…"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

demo: $(READY) ## a relay and two agents meet, verify each other, talk encrypted, close and reconnect
	@$(BIN)/handfast demo

test: $(READY) ## the test suite
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow"

test-slow: $(READY) ## the long runs
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q -m slow --timeout 900

coverage: $(READY) ## lines of the core and of db_sdk that their tests run: at least 95 %
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 2 --dist worksteal -q -m "not slow" tests/handfast tests/db_sdk
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

fuzz: $(READY) ## search for input that breaks a parser; FUZZ_SECONDS=20 for each target
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --group fuzz || true
	@$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

mutants: $(READY) ## does a test fail for every small wrong change to a check? 20 minutes
	@$(BIN)/python tests/mutation

check: $(READY) ## formatter, linter, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## measure, as ratios side by side
	@$(BIN)/python -m benchmarks

docs: $(READY) ## write the generated parts of docs/ anew
	@$(BIN)/python docs/generate.py
	@$(BIN)/python tests/hostile/catalogue.py

clean: ## remove the environment and what tools left behind
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* .fuzz dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
