# `make demo` runs the quickstart and writes its report, and `make test` runs every check and test. Each creates .venv first if it is missing.

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

# How many processes run the tests.
PROCESSES ?= 2
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal

# The room of `make mutants`, how many of its mutants are tried, and which.
ROOM ?= execute
SAMPLE ?= 60
SEED ?= 1
# How many inputs, kills or edits are tried, and how long.
COUNT ?= 1000
MINUTES ?= 10

.PHONY: demo test fast thorough mutants fuzz fuzz-guided kill stale budget breadth lint-code schemas docs serve-docs constraints venv clean

demo: $(READY)
	$(BIN)/onnxbuild run manifests/quickstart.yaml
	$(BIN)/onnxbuild report manifests/quickstart.yaml

# In CI, a test that is skipped must be on the list in tests/may_be_skipped.txt. Thousands of processes import the
# package, and many of them may write no bytecode.
test: lint-code
	$(BIN)/python -m compileall -q onnxbuild
	$(PYTEST) $(if $(CI),--known-skips-only)

fast: $(READY)
	$(PYTEST) -m "not heavy"

# The tests that try a part of their cases in `make test`, with all cases. `kill`, `stale`, `fuzz` and `breadth` try more.
thorough: $(READY)
	$(PYTEST) --thorough

# Changes the code of a room in many places, one at a time, and lists the changes that no test notices.
mutants: $(READY_FOR_MUTANTS)
	$(BIN)/python tests/trust/run_mutants.py $(ROOM) --sample $(SAMPLE) --seed $(SEED)

# Damaged inputs, 100,000 by COUNT=100000; and for some minutes those that atheris chooses.
fuzz: $(READY)
	$(BIN)/python tests/trust/fuzz.py --count $(COUNT) --seed $(SEED)

fuzz-guided: $(READY)
	$(INSTALL) --editable '.[fuzz]'
	$(BIN)/python tests/trust/fuzz_guided.py $(MINUTES)

# Builds that are killed, and builds after random edits: each must equal a clean one.
kill: $(READY)
	$(BIN)/python tests/trust/kill.py --count $(COUNT) --seed $(SEED)

stale: $(READY)
	$(BIN)/python tests/trust/stale.py --count $(COUNT) --seed $(SEED)

# What manifests take that are made to take long.
budget: $(READY)
	$(BIN)/python tests/trust/budget.py

# A small model of every model type, compared with PyTorch: docs/reference/breadth.md. It takes hours, and goes on where
# a stopped run ended.
breadth: $(READY)
	$(BIN)/python benchmarks/breadth.py --continue --write

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
