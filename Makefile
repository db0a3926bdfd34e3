# make repro    set up and run the pipeline on the built-in demo     make test    set up and run all tests
# make compare  run the four modes with two seeds, if not done yet   make check   linters, types and fast tests
# make lint     linters and types                                   make lock    renew requirements.lock
# make docs     the documentation site, in site/                    make clean  remove the environment and caches
.PHONY: repro compare test check lint docs lock clean

# The first that runs and is 3.11 or 3.12: a name on the path may be a version manager's empty shell.
FITS := import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))
PYTHON ?= $(firstword $(foreach python,python3.11 python3.12 python3,\
	$(shell $(python) -c '$(FITS)' >/dev/null 2>&1 && echo $(python))))
BIN := .venv/bin
# What stages and tests call as `python` and `dvc` is this environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Without Git (a ZIP of the project, say) DVC runs where its configuration says so: here alone, so that nothing is left
# of it when there is a repository.
ifneq ($(shell git rev-parse --is-inside-work-tree 2>/dev/null),true)
export DVC_SYSTEM_CONFIG_DIR := $(CURDIR)/.dvc/without-git
endif
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1

# The weights of the backbone musicnn, which the rest does without.
HAS_MUSICNN := $(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("musicnn") is None)'
GET_MUSICNN := $(BIN)/pip install --no-deps --require-hashes --requirement requirements-musicnn.lock
NO_MUSICNN := the package musicnn is not installed (for the backbone of that name: $(GET_MUSICNN))

# Another backbone where the weights of musicnn could not be installed.
.PHONY: backbone
backbone: $(BIN)/.installed
	@if grep -Eq '^ +backbone: *musicnn *(#|$$)' params.yaml && ! $(HAS_MUSICNN); then \
		echo '$(NO_MUSICNN); params.yaml named it and now names mert-tiny, finetune: full'; \
		sed -i.before -e 's/^\( *backbone: *\)musicnn/\1mert-tiny/' \
			-e 's/^\( *finetune: *\)frozen/\1full/' params.yaml && rm params.yaml.before; fi

repro: backbone
	dvc repro
	dvc metrics show
	@if [ "$$(git branch --show-current 2>/dev/null)" = main ] && [ -n "$$(git status --porcelain dvc.lock)" ]; then echo 'To come back to this later and to compare with it:' \
		'git switch -c my-work && git add params.yaml dvc.lock metrics && git commit -m "my baseline"'; fi

compare: backbone
	tarkib compare

test: $(BIN)/.installed
	OMP_NUM_THREADS=1 pytest

check: lint
	OMP_NUM_THREADS=1 pytest -m "not slow and not browser and not cluster"

lint: $(BIN)/.installed
	ruff check .
	ruff format --check .
	mypy

docs: $(BIN)/.installed
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# Exact versions from the lock first, then the package itself, without looking for anything further.
$(BIN)/.installed: requirements.lock requirements-musicnn.lock pyproject.toml
	@$(or $(PYTHON),false) -c '$(FITS)' || { echo 'Tarkib needs Python 3.11 or 3.12: make PYTHON=/path/to/it' >&2; exit 1; }
	@echo 'installing all that is needed into .venv: 7 GB, two to three minutes; pip prints nothing meanwhile'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@$(GET_MUSICNN) --quiet --retries 1 2>/dev/null || echo '$(NO_MUSICNN); going on without it'
	touch $@

# One version of each package for both Pythons, without addresses.
lock: $(BIN)/.installed
	uv pip compile pyproject.toml --all-extras --universal --fork-strategy fewest --upgrade --quiet \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements.lock
	$(MAKE) versions.yaml

# What stages compute with, for dvc.yaml: another version of one of these makes their outputs out of date.
COMPUTE := librosa|numpy|peft|pyarrow|python-stretch|scikit-learn|scipy|soundfile|soxr|torch|torchaudio|transformers
versions.yaml: requirements.lock
	awk -F '==| ' '/^($(COMPUTE))==/ {v[$$1] = v[$$1] sep[$$1] $$2; sep[$$1] = ", "} \
		END {for (name in v) print name ": \"" v[name] "\""}' requirements.lock | sort >$@

clean:
	rm -rf .venv .cache
