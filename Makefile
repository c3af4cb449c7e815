# Needs only Python 3.11, git and make; everything else goes into .venv.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup setup-bench repro test test-long lint docs benchmarks lock clean

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

# Some two hours on two cores, with nothing else running. The ablation, longer still, is left out.
BENCH := .venv-bench/bin/python
OUT := --json docs/benchmarks.json --plots docs/pictures/benchmarks
SHOWN := $(addprefix data/stores/,agora.zarr coco.zarr densepose_coco.zarr)
benchmarks: setup-bench repro  ## every question, then the page of figures
	$(BENCH) benchmarks/converting.py data/sample $(OUT)
	$(BENCH) benchmarks/storing.py $(SHOWN) $(OUT)
	$(BENCH) benchmarks/reading.py $(SHOWN) $(OUT)
	$(BENCH) benchmarks/growing.py $(OUT)
	$(BENCH) benchmarks/loading.py data/stores data/sample/body.npz $(OUT)
	$(BENCH) benchmarks/preparing.py data/real_counts $(OUT)
	$(BENCH) benchmarks/unpickling.py $(OUT)
	$(BENCH) benchmarks/limits.py data/stores/*.zarr --real-counts data/real_counts $(OUT)
	$(BENCH) benchmarks/resuming.py data/real_counts $(OUT)
	$(BENCH) benchmarks/memory.py $(OUT)
	$(BENCH) benchmarks/viewing.py $(OUT)
	$(BENCH) docs/make_benchmarks.py

lock:  ## refresh the pins (needs uv)
	uv pip compile requirements.in --python-version 3.11 --no-header --no-annotate --no-emit-index-url --upgrade -o requirements.txt

clean:
	rm -rf data models reports .mypy_cache .ruff_cache .pytest_cache
