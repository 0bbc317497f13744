# Everything here sets itself up: Python 3.10 to 3.13 and make are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo ui check test files e2e constraints

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The stamp is newer than what it was made from, so a second run costs nothing.
$(VENV)/stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || { echo "Python 3.10 to 3.13 is needed; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[sandbox]' --group check
	@touch $@

setup: $(VENV)/stamp ## make the virtual environment

demo: $(VENV)/stamp ## make a video on real Airflow against the local sandbox, no key needed
	@$(BIN)/python -m scripts.demo

ui: $(VENV)/stamp ## serve Airflow's web pages with the examples and the local sandbox
	@$(BIN)/python -m scripts.ui

check: $(VENV)/stamp ## lint, formatting, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/stamp ## every test but files and e2e, on two cores, with branch coverage
	$(BIN)/pytest --numprocesses 2 --ignore tests/files --ignore tests/e2e --cov

files: $(VENV)/stamp ## large files, killed downloads, bad lines and full disks, on disk and in S3; two minutes
	$(BIN)/pytest --numprocesses 2 tests/files

e2e: $(VENV)/stamp ## scheduler, triggerer and API server while processes are killed; about ten minutes
	$(BIN)/pytest tests/e2e

constraints: ## renew constraints.txt (newest versions that pyproject.toml allows)
	$(BIN)/uv pip compile --universal --python-version 3.10 --upgrade --all-extras --group check --no-header --no-annotate --quiet --output-file constraints.txt pyproject.toml
