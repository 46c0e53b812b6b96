# Every target sets up what it needs in .venv; nothing else has to be done by hand.
#
#   make demo       sample scan, analysed with the model that ships
#   make test       quick tests          make test-all   the slow ones too
#   make lint       ruff and mypy        make bench      speed and memory
#   make test-slicer   scenes and panel, with Slicer's own classes, in .venv-slicer
#   make bench-slicer  event loop, sliders and memory of the panel, there too
#
# PYTHON      interpreter that makes .venv, 3.10 or newer (default python3)
# PIP_FLAGS   extra flags for pip, such as the index that pytorch.org names for a CPU-only torch

PYTHON ?= python3
PIP_FLAGS ?=
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_FLAGS)
DISTRIBUTION := pyproject.toml setup.py constraints.txt

.PHONY: demo test test-all test-slicer lint bench bench-slicer clean

demo: .venv/worker.stamp
	$(BIN)/hemocam sample --out demo/sample
	$(BIN)/hemocam analyze demo/sample/scan --out demo/run --overwrite

test: .venv/dev.stamp
	$(BIN)/python -m pytest

test-all: .venv/dev.stamp
	$(BIN)/python -m pytest -m "slow or not slow"

# In an environment without torch, as Slicer's own Python; with .venv there, a real analysis is made for it.
test-slicer: .venv-slicer/stamp
	.venv-slicer/bin/python -m pytest Testing/slicer_core Testing/panel

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/bench.stamp
	$(BIN)/python Testing/benchmarks/bench_engine.py
	$(BIN)/python Testing/benchmarks/bench_masks.py
	$(BIN)/python Testing/benchmarks/bench_forward.py
	$(BIN)/python Testing/benchmarks/bench_cam.py
	$(BIN)/python Testing/benchmarks/bench_agreement.py
	$(BIN)/python Testing/benchmarks/bench_documents.py
	$(BIN)/python Testing/benchmarks/bench_loader.py
	$(BIN)/python Testing/benchmarks/bench_training.py

# The worker of the measured panel runs in .venv.
bench-slicer: .venv-slicer/stamp .venv/worker.stamp
	.venv-slicer/bin/python Testing/benchmarks/bench_slicer_panel.py

clean:
	rm -rf .venv .venv-slicer demo build dist *.egg-info training/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "HemoCAM needs Python 3.10 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/worker.stamp: $(DISTRIBUTION) | $(BIN)/python
	@echo "Installing HemoCAM and PyTorch into .venv; this can take some minutes."
	@$(INSTALL) --editable ".[worker]"
	@touch $@

.venv/dev.stamp: $(DISTRIBUTION) training/pyproject.toml | $(BIN)/python
	@echo "Installing HemoCAM, PyTorch and the tools for tests into .venv; this can take some minutes."
	@$(INSTALL) --editable ".[worker,dev]" --editable training
	@touch $@ .venv/worker.stamp

.venv/bench.stamp: $(DISTRIBUTION) training/pyproject.toml | $(BIN)/python
	@echo "Installing HemoCAM, PyTorch and what it is measured against into .venv; this can take some minutes."
	@$(INSTALL) --editable ".[worker,dev,bench]" --editable training
	@touch $@ .venv/dev.stamp .venv/worker.stamp

.venv-slicer/stamp: $(DISTRIBUTION)
	@echo "Installing Slicer's classes and HemoCAM without PyTorch into .venv-slicer; this can take some minutes."
	@test -x .venv-slicer/bin/python || $(PYTHON) -m venv .venv-slicer
	@.venv-slicer/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  $(PIP_FLAGS) --editable ".[dicom,host]" pytest hypothesis
	@touch $@
