# make repro   set up and run the pipeline on the built-in demo     make test    set up and run all tests
# make lint    what .ci/run checks before the tests                 make lock    renew requirements.lock
.PHONY: repro test lint lock clean

PYTHON ?= $(shell command -v python3.12 || command -v python3.11 || command -v python3)
BIN := .venv/bin
# What stages and tests call as `python` and `dvc` is this environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1

repro: $(BIN)/.installed
	dvc repro
	dvc metrics show

test: $(BIN)/.installed
	OMP_NUM_THREADS=1 pytest

lint: $(BIN)/.installed
	ruff check .
	ruff format --check .

# Exact versions from the lock first, then the package itself, without looking for anything further.
$(BIN)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and "Tarkib needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# One version of each package for both Pythons, without addresses.
lock: $(BIN)/.installed
	uv pip compile pyproject.toml --all-extras --universal --fork-strategy fewest --upgrade --quiet \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements.lock

clean:
	rm -rf .venv .cache
