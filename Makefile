# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
PROTOS := $(wildcard protos/waybill/api/v1/*.proto)
PACKAGES := src/waybill src/pytest_waybill services/planner services/dispatcher services/worker services/gateway tests examples
GOAL ?=
SOURCES ?=
JSON ?=
DURATION ?= 120
EXAMPLES ?= 2000
ONLY ?=
SYSTEMS ?=
RUNS ?=
QUICK ?=
CAMPAIGN := tests/chaos/test_campaign.py::test_a_campaign_finds_nothing_wrong
SEED ?= 1
TASKS ?= 200000

# Tests start thousands of processes: each would compile its modules anew where nothing may be kept.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(RUNTIME)  ## Answer a question with the whole suite: make run [GOAL="..."] [SOURCES=path,...] [JSON=1]
	@$(BIN)/waybill run $(if $(GOAL),--goal "$$GOAL") $(if $(SOURCES),--sources "$$SOURCES") $(if $(JSON),--json)

up: $(RUNTIME)  ## Start the suite and keep it running until Ctrl-C
	@$(BIN)/waybill up

test: $(DEV)  ## Run all tests; the campaign has the machine for itself
	@$(BIN)/pytest -q $(CAMPAIGN)
	@$(BIN)/pytest -n 3 --dist worksteal --deselect $(CAMPAIGN)

model: $(DEV)  ## Hold the ledger against its model in many random runs: make model [EXAMPLES=2000]
	@WAYBILL_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -q -n 2 --timeout 0 tests/ledger/test_model.py

chaos: $(DEV)  ## Load and faults on the whole suite, then a check of all it promised: make chaos [DURATION=120] [SEED=1]
	@PYTHONPATH=tests $(BIN)/python -m chaos.campaign --duration $(DURATION) --seed $(SEED)

soak: $(DEV)  ## Many tasks with retention on: is memory flat, in the store and every process? make soak [TASKS=200000]
	@nice $(BIN)/python bench/soak.py --tasks $(TASKS)

bench: $(DEV)  ## Measure Waybill and its peers: make bench [QUICK=1] [ONLY=fan,unary] [SYSTEMS=waybill,ray] [RUNS=3]
	@$(BIN)/python bench $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)") $(if $(SYSTEMS),--systems "$(SYSTEMS)") \
	    $(if $(RUNS),--runs "$(RUNS)")

bench-check: $(DEV)  ## Fail if a ratio of the last results is below its floor in bench/floors.json
	@$(BIN)/python bench/check.py

bench-floors: $(DEV)  ## Set the floors a margin below the ratios of the last results
	@$(BIN)/python bench/check.py --write

bench-plots: $(DEV)  ## Draw the pictures of the last results, and write the tables of docs/performance.md
	@$(BIN)/python bench/plots.py

bench-memory: $(DEV)  ## Bytes of the store that a finished task takes, and a step of a wide plan
	@$(BIN)/python bench/memory.py

bench-recovery: $(DEV)  ## Seconds from kill -9 of a worker to the next attempt of its step
	@$(BIN)/python bench/recovery.py

bench-batching: $(DEV)  ## Do adaptive batches beat batches of 1 and of 64 on mixed loads?
	@$(BIN)/python bench/batching.py

bench-limits: $(DEV)  ## Milliseconds that a permit and a budget's reservation take, beside a plain write
	@$(BIN)/python bench/limits.py

bench-fairness: $(DEV)  ## Shares of tenants beside their weights, and how soon a newcomer starts
	@$(BIN)/python bench/fairness.py

bench-indexing: $(DEV)  ## How much cheaper a question to a large folder is once it was indexed
	@$(BIN)/python bench/indexing.py

format: $(DEV)  ## Format the code and mend what lint can mend
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: $(DEV)  ## Check format, style, types, import directions and protos
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/buf lint protos

generate: $(DEV)  ## Regenerate the gRPC stubs under src/waybill/api/v1
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos \
	    --python_out=src --grpc_python_out=src --mypy_out=quiet:src --mypy_grpc_out=quiet:src $(PROTOS)

docs: $(DEV)  ## Write the reference pages from the code that they describe
	@$(BIN)/python -B docs/generate

screenshots: $(DEV)  ## Take the pictures of the web console anew, from a real run
	@$(BIN)/python -B screenshots

verify: $(DEV)  ## Fail if the committed stubs differ from the protos, or the reference pages from the code
	@PATH="$(CURDIR)/$(BIN):$$PATH" ; out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out="$$out" --grpc_python_out="$$out" \
	    --mypy_out=quiet:"$$out" --mypy_grpc_out=quiet:"$$out" $(PROTOS) && \
	diff -r -x __pycache__ -x __init__.py "$$out/waybill/api/v1" src/waybill/api/v1 && echo "stubs: equal"
	@$(BIN)/python -B docs/generate --check

ci: verify lint test  ## What CI runs

lock: $(DEV)  ## Resolve the newest releases into the lock files
	@$(BIN)/uv pip compile -q --universal --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	    pyproject.toml build.in -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	    --extra dev pyproject.toml build.in -c requirements.lock -o requirements-dev.lock

clean:  ## Remove what the targets made
	@rm -rf $(VENV) .venv-bench .waybill .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(RUNTIME): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Waybill into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: help run up test model chaos soak bench bench-check bench-floors bench-plots bench-memory bench-recovery bench-batching bench-limits bench-fairness bench-indexing format lint generate docs screenshots verify ci lock clean
export GOAL SOURCES
