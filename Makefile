# The two commands of the README are `make quick` and `make test`; each sets everything up by itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet install --no-compile --constraint constraints.txt

# Where an environment forbids it, each of the many processes of a study or a test compiles all of torch again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: quick test check dashboard format clean
.DEFAULT_GOAL := quick

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
OTHER     := Pathfront needs Python 3.11 or 3.12, and $(PYTHON) is another: make quick PYTHON=python3.12

$(VENV)/run.stamp: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c '$(SUPPORTED)' || { echo "$(OTHER)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Pathfront into $(VENV) (once, a minute or two)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@echo "installing the tools of the tests into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@

quick: $(VENV)/run.stamp  ## search a real space of sparse multimodal models on this machine, in minutes
	@$(BIN)/pathfront launch quick

dashboard: $(VENV)/run.stamp  ## open the page over pathfront.db
	@$(BIN)/pathfront dashboard

check: $(VENV)/dev.stamp  ## lint, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

test: check  ## everything that CI runs
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

format: $(VENV)/dev.stamp
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:  ## forget the environment; studies and caches stay
	rm -rf $(VENV)
