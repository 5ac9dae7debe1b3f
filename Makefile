# Everything runs in this folder's own .venv, at the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo check test test-all bench docs clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

demo: setup
	$(BIN)/ontogeny run regression --preset quick

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two workers share the cores; threads within each would only wait for each other.
test test-all: export OMP_NUM_THREADS := 1

test: setup
	$(BIN)/pytest -n 2 -m "not slow and not gpu"

test-all: setup
	$(BIN)/pytest -n 2 -m "not gpu"

# The two that others import measure nothing by themselves.
BENCHMARKS := $(filter-out %/tools.py %/language_model.py,$(wildcard benchmarks/*.py))

bench: setup
	for script in $(BENCHMARKS); do echo "# $$script"; $(BIN)/python $$script || exit 1; done

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build dist site
