PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.requirements-installed
NATIVE := .native
NATIVE_TESTS := $(addprefix tests/,dra fractions inventory kai queues scheduling topology workloads)

# The tests start some hundreds of Python processes, which should find the modules compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup up test prove prove-native check native bench bench-openb clean

help: ## List the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(STAMP) ## Make the virtual environment with the pinned, hashed dependencies.

$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

up: $(STAMP) ## Run a GPU control plane on this machine: embedded cluster, controller, dashboard.
	@exec $(BIN)/aliquot up

test: $(STAMP) ## Run all tests.
	$(BIN)/python -m pytest -m "not prove" -n 2 --dist loadgroup

prove: $(STAMP) ## Run the longer proofs: fault schedules, fuzzing, large inputs.
	$(BIN)/python -m pytest -m prove -n 2 --dist loadgroup -p tests.install.whole_run

native: $(NATIVE)/.made ## Compile the core; .native on PYTHONPATH has it. Needs a C compiler and Python's headers.

$(NATIVE)/.made: $(STAMP) hatch_build.py $(shell find src/aliquot -name '*.py')
	rm -rf $(NATIVE)
	ALIQUOT_NATIVE=1 $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(NATIVE)/wheel .
	$(BIN)/python -m pip install --quiet --no-deps --target $(NATIVE) $(NATIVE)/wheel/*.whl
	@touch $@

prove-native: native ## Run the tests of the core with it compiled.
	PYTHONPATH=$(CURDIR)/$(NATIVE) $(BIN)/aliquot version | grep -q native
	PYTHONPATH=$(CURDIR)/$(NATIVE) $(BIN)/python -m pytest -m "not prove" -n 2 --dist loadgroup $(NATIVE_TESTS)

check: $(STAMP) ## Check style, types, layers and documents.
	$(BIN)/ruff format --check src tests benchmarks hatch_build.py
	$(BIN)/ruff check src tests benchmarks hatch_build.py
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: native ## Run the benchmarks, with the core compiled.
	PYTHONPATH=$(CURDIR)/$(NATIVE) $(BIN)/python -m benchmarks

bench-openb: $(STAMP) ## Run the placement benchmark; docs/placement-benchmark.md tells where its trace comes from.
	$(BIN)/aliquot bench openb --policy all --seed 42-51
	$(BIN)/aliquot bench openb --policy fgd --policy aliquot --seed 42-51 \
	  --trace cpu050 --trace cpu100 --trace gpushare40 --trace gpushare60 \
	  --trace gpuspec10 --trace gpuspec20 --trace multigpu20 --trace multigpu30

clean: ## Remove what setup and runs leave behind.
	rm -rf $(VENV) $(NATIVE) .aliquot .mypy_cache .pytest_cache .ruff_cache .hypothesis
