# Needs only Python 3.11, git and make; everything else goes into .venv.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup setup-bench repro test test-long lint docs lock clean

setup: .venv/installed

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

setup-bench: .venv-bench/installed  ## what the benchmarks compare with, apart from all else

# Without dependencies, as requirements-bench.in says why: the list is complete.
.venv-bench/installed: requirements.txt requirements-bench.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-bench.txt
	touch $@

repro: setup  ## sample data -> stores -> trained and evaluated model
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

test: setup lint
	$(BIN)/python -m pytest

test-long: setup  ## the kill loops and fuzzers at full length
	$(BIN)/python -m pytest -m "long or not long"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

docs: setup  ## the pages that are made from the code
	$(BIN)/python docs/make_reference.py

lock:  ## refresh the pins (needs uv)
	uv pip compile requirements.in --python-version 3.11 --no-header --no-annotate --no-emit-index-url --upgrade -o requirements.txt

clean:
	rm -rf data models reports .mypy_cache .ruff_cache .pytest_cache
