# The commands a person needs. Everything runs in .venv, which `make` creates on first use.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test test-slow check bench docs clean

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
	@$(BIN)/python -m pytest -q -m slow --timeout 900

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
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
