# make demo: from nothing to predictions on a local cluster. make help: the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# A thousand processes of a run import the same modules, which are compiled once, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock"
own_cluster = CHURN_TEST_CLUSTERS=$${CHURN_TEST_CLUSTERS:-test}-$(1) $(BIN)/python -m pytest $(2)
all_faults = CHURN_ALL_FAULTS=1 $(call own_cluster,$(1),-rP --timeout=7200 $(2))
REQUEST_FAULTS := $(addprefix tests/api/test_,$(addsuffix .py,crashes errors watches generated))
CHANCE := tests/api/test_any_order.py tests/api/test_names.py
MEMBERS := operator/pyproject.toml serving/pyproject.toml dev/pyproject.toml

.PHONY: help setup demo down check test test-pure test-api test-chart test-nodes test-faults bench bench-batch bench-operator bench-serving soak faults faults-requests faults-chance faults-pure fuzz-serving endure-serving restart-serving generate lock format

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: .venv/.ready ## Make .venv with churn-serving and churn-dev in it

.venv/.ready: dev/requirements.txt dev/uv.txt $(MEMBERS)
	@command -v $(PYTHON) >/dev/null || { echo "Python is missing: install Python 3.11 or newer (apt-get install python3 python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "$(PYTHON) is too old or lacks venv: install Python 3.11 or newer with venv (apt-get install python3-venv)"; exit 1; }
	@echo "setup: .venv from the hash-locked requirements"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r dev/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes dev/requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e operator -e serving -e dev
	@touch $@

demo: setup ## Bring up a cluster, install the chart, serve a model and score three customers
	@$(BIN)/churn-dev demo

down: ## Remove the demo's cluster and all that belongs to it
	@test -x $(BIN)/churn-dev && $(BIN)/churn-dev cluster down || echo "down: nothing is set up"

check: setup ## Formatter, linter, types, architecture, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m churn_dev.generate --check

test: setup ## Every test, in lanes, four at once: pure, API server, chart and local cluster, cluster with nodes; then faults
	@$(MAKE) --no-print-directory --jobs=4 --keep-going --output-sync=target test-pure test-api test-chart test-nodes test-faults

test-pure: setup # What needs no cluster: the operator's decisions, and all of the server
	$(BIN)/python -m pytest tests/operator tests/kubectl tests/serving

test-api: setup # What needs a real API server
	$(BIN)/python -m pytest tests/api $(addprefix --ignore=,$(REQUEST_FAULTS) $(CHANCE))

test-chart: setup # The local cluster's own tests, the documents, and the chart on a cluster of its own
	$(BIN)/python -m pytest tests/dev tests/deploy tests/cluster/test_chart.py

test-nodes: setup # The operator and the server on a real cluster
	$(BIN)/python -m pytest tests/cluster --ignore=tests/cluster/test_chart.py

test-faults: setup # A sample of what `make faults` does, on an API server of its own
	$(call own_cluster,faults,$(REQUEST_FAULTS) $(CHANCE))

bench: setup ## Measure what docs/benchmarks.md states
	$(BIN)/churn-dev bench --record docs/benchmarks.md

bench-batch: setup ## Measure the scoring of files beside scikit-learn with pandas, for docs/benchmarks-batch.md
	$(BIN)/churn-dev bench-batch --record docs/benchmarks-batch.md

bench-operator: setup ## Measure the operator with 1,000 ChurnModels, for docs/benchmarks-operator.md
	$(BIN)/churn-dev bench-operator --record docs/benchmarks-operator.md

bench-serving: setup ## Measure the server beside a bare echo and beside others, for docs/benchmarks-serving.md
	$(BIN)/churn-dev bench-serving --record docs/benchmarks-serving.md

soak: setup ## Roll, drain, scale, kill and cut for 20 minutes under load; no request may fail (docs/soak.md)
	$(BIN)/churn-dev soak --record docs/soak.md

faults: setup ## Every fault at every request of the operator, not only the sample that `make test` takes (docs/faults.md)
	@$(MAKE) --no-print-directory --jobs=3 --keep-going --output-sync=target faults-requests faults-chance faults-pure

faults-requests: setup # Every write and watch × every way to fail or to be killed, and generated ChurnModels
	$(call all_faults,requests,$(REQUEST_FAULTS))

faults-chance: setup # Courses and names as chance draws them
	$(call all_faults,chance,$(CHANCE))

faults-pure: setup # What needs no cluster: 10,000 specs, and lives against a cluster in small
	$(call all_faults,pure,tests/operator/test_machine.py tests/operator/test_generated_specs.py)

fuzz-serving: setup ## Ask the server 20,000 times what its OpenAPI document allows and what it does not (docs/hostile.md)
	$(BIN)/churn-dev fuzz-serving --record docs/hostile.md

endure-serving: setup ## Ask one server a million times and watch its memory, leave it 100,000 times, press it for a minute (docs/hostile.md)
	CHURN_ALL_FAULTS=1 $(BIN)/python -m pytest -rP --timeout=3600 tests/serving/hostile/test_load.py tests/serving/hostile/test_http.py -k "f12 or g2"
	$(BIN)/churn-dev endure-serving --record docs/hostile.md

restart-serving: setup ## Restart servers 20 times behind a load balancer; no request may fail (docs/hostile.md)
	$(BIN)/churn-dev restart-serving --record docs/hostile.md

generate: setup ## Write every generated file from its source
	$(BIN)/python -m churn_dev.generate

format: setup ## Format and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup ## Resolve the requirements anew (hash-locked: one file an image, one for development)
	$(LOCK) operator/pyproject.toml -o operator/requirements.txt
	$(LOCK) serving/pyproject.toml -o serving/requirements.txt
	$(LOCK) --group dev/pyproject.toml:tools -o dev/uv.txt
	$(LOCK) $(MEMBERS) --extra train --extra card --extra batch --extra export --extra xgboost --extra lightgbm --group dev/pyproject.toml:tools --group dev/pyproject.toml:check \
	  --group dev/pyproject.toml:test --no-emit-package churn-operator --no-emit-package churn-serving -o dev/requirements.txt
	for peer in bentoml kserve locust mlserver naive schemathesis; do $(LOCK) dev/peers/$$peer.in -o dev/peers/$$peer.txt || exit 1; done
	$(LOCK) dev/policy/checkov.in -o dev/policy/requirements.txt
