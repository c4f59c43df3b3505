# make run     the main job on the built-in phantom
# make test    lint, types and tests
# make check   lint and types alone
# Everything is installed once, into .venv, with the versions of constraints.txt.

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
.DEFAULT_GOAL := run
.PHONY: run test check
.DELETE_ON_ERROR:

run: .venv/installed
	$(BIN)/medseg run bundles/uwmgi_segformer

test: check
	$(BIN)/python -m pytest --cov=medseg

check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "medseg needs Python 3.11 or newer: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ .venv/installed
