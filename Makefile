# `make demo` runs the quickstart, and `make test` runs every check and test. Each creates .venv first if it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_FOR_DOCS := $(VENV)/.ready-for-docs
READY_FOR_MUTANTS := $(VENV)/.ready-for-mutants

INSTALL := $(BIN)/python .ci/install.py --constraint constraints.txt
# torch 2.13 is the newest release whose wheel for a CPU comes without gigabytes of CUDA packages.
HELD_BACK := torch==2.13.0

# No target contacts a model hub, and none sends telemetry.
export HF_HUB_OFFLINE := 1
export ORT_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# mkdocs-material prints an advertisement for its successor.
export NO_MKDOCS_2_WARNING := 1

# The room of `make mutants`, how many of its mutants are tried, and which.
ROOM ?= execute
SAMPLE ?= 60
SEED ?= 1

.PHONY: demo test fast mutants lint-code schemas docs serve-docs constraints venv clean

demo: $(READY)
	$(BIN)/onnxbuild run manifests/quickstart.yaml

test: lint-code
	$(BIN)/python -m pytest

fast: $(READY)
	$(BIN)/python -m pytest -m "not heavy"

# Changes the code of a room in many places, one at a time, and lists the changes that no test notices.
mutants: $(READY_FOR_MUTANTS)
	$(BIN)/python tests/trust/run_mutants.py $(ROOM) --sample $(SAMPLE) --seed $(SEED)

lint-code: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

schemas: $(READY)
	$(BIN)/python -m onnxbuild.report.progress.jsonl > schemas/events.schema.json
	$(BIN)/onnxbuild schema > schemas/manifest.schema.json

# Writes the generated parts of the pages and their image, then the site to site/. The image shows a first run,
# whatever has been built here, because its store does not exist.
docs: $(READY_FOR_DOCS)
	$(BIN)/python docs/generate.py
	$(BIN)/onnxbuild graph manifests/quickstart.yaml --store $(VENV)/no-store --format svg --output docs/pictures/quickstart.svg
	$(BIN)/mkdocs build --strict --quiet

serve-docs: $(READY_FOR_DOCS)
	$(BIN)/mkdocs serve --strict

# Writes constraints.txt anew. Run `make test` before you commit the result.
constraints:
	PYTHON='$(PYTHON)' .ci/constraints '$(HELD_BACK)' > constraints.new
	mv constraints.new constraints.txt

venv: $(READY)

# The stamp is newer than the files it depends on exactly when nothing has to be installed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "onnxbuild needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[optimum,dev]'
	@touch $(READY)

$(READY_FOR_DOCS): $(READY)
	$(INSTALL) --editable '.[docs]'
	@touch $(READY_FOR_DOCS)

$(READY_FOR_MUTANTS): $(READY)
	$(INSTALL) --editable '.[mutants]'
	@touch $(READY_FOR_MUTANTS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache site manifests/.onnxbuild manifests/out
