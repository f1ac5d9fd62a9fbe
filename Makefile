# The two commands of the README are `make quick` and `make test`; each sets everything up by itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet install --no-compile --constraint constraints.txt

# Where an environment forbids it, each of the many processes of a study or a test compiles all of torch again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: quick dashboard lint types check pytest test format clean
.DEFAULT_GOAL := quick

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
OTHER     := Pathfront needs Python 3.11 or 3.12, and $(PYTHON) is another: make quick PYTHON=python3.12

$(BIN)/python:
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "$(OTHER)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Pathfront into $(VENV) (once, a minute or two)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Pathfront and the tools of its tests into $(VENV) (once, some minutes)"
	@$(PIP) --editable '.[dev]'
	@touch $(VENV)/run.stamp $@

quick: $(VENV)/run.stamp  ## search a real space of sparse multimodal models on this machine, in minutes
	@$(BIN)/pathfront launch quick

dashboard: $(VENV)/run.stamp  ## open the page over pathfront.db
	@$(BIN)/pathfront dashboard

lint: $(VENV)/dev.stamp  ## style and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

types: $(VENV)/dev.stamp
	@$(BIN)/pyright

check: lint types  ## what takes a minute

pytest: $(VENV)/dev.stamp
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

test: lint  ## everything that CI runs; types are checked beside the tests
	@$(MAKE) --no-print-directory --jobs 2 types pytest

format: $(VENV)/dev.stamp
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:  ## forget the environment; studies and caches stay
	rm -rf $(VENV)
