# make run         the main job on the built-in phantom
# make test        lint, types and tests
# make check       lint and types alone
# make browser     a browser for the tests that open pages, where Debian's packages can be installed
# make validators  other people's DICOM programs and shellcheck, for the tests that ask them, likewise
# make slurm       Slurm, for the slow tests that submit jobs, likewise
# make test-slow   tests that take minutes each; hours, and their figures into docs/results
# make test-order  the tests in an order that SEED=N draws, in each file or, with ORDER=global, of all
# make test-optimized  the tests under python -O
# make test-oldest the quick tests with the oldest versions that pyproject.toml allows
# make test-newest likewise with the newest that the index has
# make mutants     small changes to the code that no test notices; hours
# make audit       known weaknesses of the packages in constraints.txt; asks the network
# make sbom        dist/medseg.cdx.json, what is installed with medseg, as CycloneDX
# Everything is installed once, into .venv, with the versions of constraints.txt.

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
.DEFAULT_GOAL := run
.PHONY: run test check browser validators slurm audit sbom
.PHONY: test-slow test-order test-optimized test-oldest test-newest mutants
.DELETE_ON_ERROR:

run: .venv/installed
	$(BIN)/medseg run bundles/uwmgi_segformer

test: check browser validators
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --cov=medseg

check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One after another: they measure time, memory and what is left behind. The fuzzing is run by its own
# script, which keeps its figures.
test-slow: .venv/installed-slow validators slurm
	@mkdir -p build docs/results
	@status=0; export MEDSEG_RESULTS=docs/results; \
	$(BIN)/python -m pytest -m 'slow and not gpu' --deselect tests/fuzz/test_fuzz_guided.py \
	  --junitxml=build/slow.xml || status=$$?; \
	$(BIN)/python tests/slow_results.py build/slow.xml docs/results/slow.json; \
	$(BIN)/python tests/fuzz/fuzz_run.py || status=$$?; exit $$status

ORDER ?= module
SEED ?= 1
test-order: .venv/installed-test
	@echo "seed $(SEED)"
	$(BIN)/python -m pytest -n auto --maxprocesses 4 \
	  --random-order-bucket=$(ORDER) --random-order-seed=$(SEED)

# The asserts of tests are rewritten by pytest, and hold; it warns of all others.
test-optimized: .venv/installed-test
	PYTHONOPTIMIZE=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile \
	  -W "ignore:assertions not in test modules:pytest.PytestConfigWarning"

# Of each part: reading, preparing, training a little, predicting, DICOM and the command line.
QUICK := tests/io tests/data tests/transforms tests/metrics tests/losses tests/engine/test_training.py \
  tests/cli/test_help.py tests/cli/test_errors.py tests/cli/test_predict_command.py tests/stages/test_run.py
test-oldest test-newest: test-%: .venv/%/installed
	.venv/$*/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile -W default $(QUICK)

.venv/%/installed: pyproject.toml constraints-oldest.txt | .venv/bin/python
	$(BIN)/python -m venv .venv/$*
	.venv/$*/bin/python -m pip install -q --disable-pip-version-check -U pip
	.venv/$*/bin/python -m pip install -q -e '.[test]' $(if $(filter oldest,$*),-c constraints-oldest.txt)
	@touch $@

mutants: .venv/installed-slow
	rm -rf build/mutants
	$(BIN)/python tests/mutation/mutate.py build/mutants --sample 500 --seed 1 \
	  --out docs/results/mutants.json

# Without it the tests that open pages are skipped, and say so.
browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name >/dev/null && exit 0; done; { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "no Chromium, and none can be installed: tests of pages will be skipped" >&2

# Without them the tests that ask them are skipped, and say so. Each is installed alone, as not every
# Debian has all. RUNLEVEL keeps them from starting as services: the tests begin them themselves.
validators: PROGRAMS := dciodvfy dcentvfy dcmdump storescu gdcmdump dcm2niix plastimatch Orthanc shellcheck
validators: PACKAGES := dicom3tools dcmtk libgdcm-tools dcm2niix plastimatch orthanc orthanc-dicomweb shellcheck
slurm: PROGRAMS := slurmctld slurmd munged sbatch
slurm: PACKAGES := slurm-wlm munge
validators slurm:
	@export PATH="$$PATH:/usr/sbin" RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive; \
	absent() { for name in $(PROGRAMS); do command -v $$name >/dev/null || echo $$name; done; }; \
	if [ -n "$$(absent)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq; for package in $(PACKAGES); do \
	  apt-get install -y -qq --no-install-recommends $$package >/dev/null; done; fi; \
	test -z "$$(absent)" || echo "no" $$(absent) "here: tests that ask them will be skipped" >&2

# Where the index or its list of weaknesses cannot be asked, it fails: what was not audited is not sound.
audit: .venv/audit/installed
	.venv/audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

sbom: .venv/installed .venv/audit/installed
	@mkdir -p dist
	.venv/audit/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
	  --of JSON -o dist/medseg.cdx.json $(BIN)/python

# Apart: these tools bring packages of their own.
.venv/audit/installed: Makefile | .venv/bin/python
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip install -q --disable-pip-version-check pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "medseg needs Python 3.11 or newer: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ .venv/installed

.venv/installed-slow: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test,fuzz,mutants]'
	@touch $@ .venv/installed-test .venv/installed
