# `make demo` serves a tiny model with the real engine; `make test` runs all tests.
# Both make what they need first: two virtual environments below this directory.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENGINE := .engine

.PHONY: demo test faults unit lint format setup engine packages test-packages clean

demo: setup engine
	$(BIN)/rigappliance demo

test: test-packages setup engine
	tools/test

faults: test-packages setup engine
	tools/faults

unit: setup
	$(BIN)/pytest tests/unit -m "not engine"

lint: test-packages setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck tools/lock tools/engine-env tools/packages tools/nix-check tools/test tools/faults nixos/tests/lib/setup.sh .ci/run
	tools/nix-check
	tools/lock check

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(VENV)/.complete

# The engine's compiled kernels need a C++ compiler at run time, and a fresh
# Debian or Ubuntu lacks that and the venv module.
packages:
	@tools/packages

test-packages: packages
	@tools/packages test

$(VENV)/.complete: pyproject.toml | packages
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

engine: packages
	@PYTHON=$(PYTHON) tools/engine-env $(ENGINE)

clean:
	rm -rf $(VENV) $(ENGINE) .tools .rigappliance .mypy_cache .pytest_cache .ruff_cache .hypothesis
