# Two commands from nothing: `make demo` runs the quickstart, `make test` passes every test. Both make .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# No test and no demo asks a model hub for anything.
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test fast lint-code schemas docs venv clean

demo: $(READY)
	$(BIN)/onnxbuild run manifests/quickstart.yaml

test: lint-code
	$(BIN)/python -m pytest

fast: $(READY)
	$(BIN)/python -m pytest -m "not heavy"

lint-code: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

schemas: $(READY)
	$(BIN)/python -m onnxbuild.report.progress.jsonl > schemas/events.schema.json
	$(BIN)/onnxbuild schema > schemas/manifest.schema.json

docs: $(READY)
	$(BIN)/python docs/generate.py

venv: $(READY)

# The stamp is younger than what it was made from exactly when nothing has to be installed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "onnxbuild needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[optimum,dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache manifests/.onnxbuild manifests/out
