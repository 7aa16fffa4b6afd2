# `make demo` and `make test` need nothing but python3 (3.11 or newer), make, git and a package registry:
# both build .venv first if it is missing or older than what it was built from.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
.DEFAULT_GOAL := help

.PHONY: servers help demo test test-fast soak audit check format rooms sweep reference ui browser bench bench-gpu clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cvae-pipe needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@echo "building .venv (two or three minutes, about 5 GB with torch)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev,ray]'
	@# compiled by all cores rather than by pip's one; here and not at a first import, where libraries' warnings would be ours
	@$(BIN)/python -W ignore -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true
	@touch $@

demo: $(READY)  ## A real sweep on scikit-learn's digits, ending in a report (a few minutes, no download)
	$(BIN)/cvae-pipe sweep --dataset digits --trials 16 --name demo

test: $(READY)  ## The whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope

test-fast: $(READY)  ## The tests that take seconds
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope -m 'not slow and not mnist and not soak'

soak: $(READY)  ## The long form of the fault-injection suite and of others: hours (docs/RELIABILITY.md)
	CVAE_PIPE_SOAK_MINUTES=$${CVAE_PIPE_SOAK_MINUTES:-60} $(BIN)/python -m pytest -m soak -s

audit: $(READY)  ## Ask an advisory database about the pinned version of every dependency (needs the network)
	@test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && \
		.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3'; }
	.venv/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

check: $(READY)  ## Lint, format, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

rooms: $(READY)  ## Draw the pictures of docs/DESIGN.md and write docs/SETTINGS.md from the code
	$(BIN)/python docs/rooms.py
	$(BIN)/python docs/settings.py

sweep: $(READY)  ## 40 trials on MNIST (about a quarter of an hour on 2 cores)
	$(BIN)/cvae-pipe sweep --dataset mnist --trials 40 --name mnist

reference: $(READY)  ## The claims of the reference report, tested on MNIST (about an hour on 2 cores)
	$(BIN)/python -m sweeps.reference

ui: $(READY)  ## MLflow's interface on the recorded runs
	$(BIN)/cvae-pipe ui

servers:  ## Install older MLflow servers, each in an environment of its own, for the soak tests of the tracker
	@for version in 2.0.1 2.22.5 3.5.1; do \
		test -e .mlflow-servers/$$version/.ready && continue; \
		$(PYTHON) -m venv .mlflow-servers/$$version && .mlflow-servers/$$version/bin/python -m pip install --quiet \
			--disable-pip-version-check "mlflow==$$version" "sqlalchemy<2.1" "setuptools<81" \
			&& touch .mlflow-servers/$$version/.ready || exit 1; \
	done

browser:  ## Install Debian's chromium, for the tests that open reports and MLflow in a real browser (needs root)
	@command -v chromium >/dev/null && echo "chromium is here: $$(chromium --version 2>/dev/null)" || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }

bench: $(READY)  ## Time training and sweeps against the usual ones, side by side (about 40 minutes)
	$(BIN)/python -m benchmarks

bench-gpu: $(READY)  ## The same for populations on a GPU: equality, seconds per epoch, a whole sweep
	$(BIN)/python -m benchmarks.gpu

clean:  ## Remove the environment and every cache, never results
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build *.egg-info
