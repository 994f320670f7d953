# Each target makes the environment it needs in .venv, and does not touch the network while that is fresh.
# PYTHON names the interpreter to build it with: make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

# One thread for every numerical library: tests run side by side, and benchmarks compare single threads.
SINGLE := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 VECLIB_MAXIMUM_THREADS=1
WORKERS ?= auto
ARGS ?=

.PHONY: help demo test mutation bench lint format types clean

help:
	@echo "make demo | test | mutation | bench | lint | format | types | clean    (PYTHON=... WORKERS=... ARGS=...)"

demo:
	@$(PYTHON) tools/environment.py $(VENV) demo nn
	$(BIN)/python examples/digits.py $(ARGS)

test:
	@$(PYTHON) tools/environment.py $(VENV) test demo nn bench
	$(SINGLE) $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

mutation:
	@$(PYTHON) tools/environment.py $(VENV) test
	$(SINGLE) $(BIN)/python -m tests.mutation.mutate $(ARGS)

bench:
	@$(PYTHON) tools/environment.py $(VENV) bench
	$(BIN)/python -m benchmarks $(ARGS)

lint:
	@$(PYTHON) tools/environment.py $(VENV) lint
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format:
	@$(PYTHON) tools/environment.py $(VENV) lint
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

types:
	@$(PYTHON) tools/environment.py $(VENV) types
	$(BIN)/python -m mypy

clean:
	$(PYTHON) tools/environment.py $(VENV) --remove
