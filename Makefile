# Everyday commands; `make` alone lists them. Every line calls plain `python -m …` in .venv.
# Needs: Python 3.11 or newer with its headers, and a C++ compiler (hnswlib comes as source).

PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python
DEV    := $(VENV)/.installed-dev
USE    := $(VENV)/.installed
DATA   ?= .cache/local
ARGS   ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.PHONY: help setup format lint types imports tidy schemas docs check test test-long demo bench \
        bench-detection kafka-up s3-up clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

setup: $(DEV) ## install everything into .venv, once

format: $(DEV) ## rewrite the code in the project's format
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

lint: $(DEV) ## format and lint, nothing rewritten
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .

types: $(DEV) ## mypy --strict, tests included
	$(RUN) -m mypy

imports: $(DEV) ## the floors: who may import whom
	$(VENV)/bin/lint-imports --no-logo

tidy: $(DEV) ## the repository's own shape: sizes, names, documentation
	$(RUN) -m pytest -q tests/tidy

schemas: $(DEV) ## Avro schemas against every released version
	$(RUN) -m schemas.compatibility

docs: $(DEV) ## render the reference pages of commands and schemas
	$(RUN) -m tests.tidy.reference_pages

check: lint types imports tidy schemas ## lint, types, imports, tidy and schemas: what CI asks

test: $(DEV) ## all tests, on a real Kafka broker and a real S3 server they start themselves
	$(RUN) -m pytest -q -m 'not long' -n 2 --dist loadfile $(ARGS)

test-long: $(DEV) ## the tests that take longer than `make test` may
	$(RUN) -m pytest -q -m long $(ARGS)

demo: $(USE) ## the whole pipeline on the embedded engine, then one byte changed and found
	$(VENV)/bin/attestream demo $(ARGS)

bench: $(DEV) ## measure sealing, verification and the index (docs/benchmarks.md)
	$(RUN) -m bench $(ARGS)

bench-detection: $(DEV) ## measure what the alerts find
	$(RUN) -m bench.detection $(ARGS)

kafka-up: $(DEV) ## a local Kafka broker in the foreground, for trying things
	$(RUN) -m tests.support.local_kafka up $(DATA)/kafka

s3-up: $(DEV) ## a local S3 server with Object Lock in the foreground, for trying things
	$(RUN) -m tests.support.local_s3 up $(DATA)/s3

clean: ## remove caches and local servers' data; .venv and attestream-data stay
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist demo-data
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(DEV): pyproject.toml constraints.txt | $(RUN)
	$(RUN) -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $(DEV) $(USE)

# What the demo needs: no client of brokers and buckets, no test servers, no checkers.
$(USE): pyproject.toml constraints.txt | $(RUN)
	$(RUN) -m pip install -q -c constraints.txt -e '.[index]'
	@touch $(USE)

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "attestream needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || \
	  { echo "attestream needs a C++ compiler (hnswlib comes as source): install g++ or clang" >&2; exit 1; }
	@$(PYTHON) -c 'import pathlib, sys, sysconfig; sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())' || \
	  { echo "attestream needs Python's headers (hnswlib comes as source): install python3-dev" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
