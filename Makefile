# Everything here sets itself up: Python 3.10 to 3.14 and make are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Where pyenv is, its shims hide interpreters that are installed but not chosen.
INTERPRETERS := $(shell ls -d "$$(pyenv root 2>/dev/null)"/versions/*/bin 2>/dev/null | tr '\n' ':')
NOX := PATH="$(INTERPRETERS)$$PATH" $(BIN)/nox

# Where it is set, each of the many Airflow processes that the tests start would compile Airflow anew, for some seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo ui check test guides crash-points e2e files scale nights browser distributed docs compat compat-corners newest newest-python e2e-newest browser-newest bench audit system-packages constraints

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The stamp is newer than what it was made from, so a second run costs nothing.
$(VENV)/stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' || { echo "Python 3.10 to 3.14 is needed; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[excel,sandbox]' --group check
	@touch $@

# What only one target needs joins the same environment when that target is first asked for.
$(VENV)/%-stamp: $(VENV)/stamp
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --group $*
	@touch $@

setup: $(VENV)/stamp ## create the virtual environment

demo: $(VENV)/stamp ## make a video on real Airflow against the local sandbox, no key needed
	@$(BIN)/python -m scripts.demo

ui: $(VENV)/stamp ## serve Airflow's web pages with the examples and the local sandbox
	@$(BIN)/python -m scripts.ui

check: $(VENV)/stamp ## lint, formatting, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# More processes than cores, since many tests wait: for threads, servers and other processes.
PROCESSES ?= 4

test: $(VENV)/stamp ## every test except those of the targets below, in 5 minutes; COV=--cov measures the branch coverage
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist worksteal $(addprefix --ignore tests/,crash_points guides e2e transfers scale nights browser distributed compat) $(COV)

guides: $(VENV)/stamp ## every DAG in the README and the docs against the sandbox, task by task; a minute
	$(BIN)/pytest --numprocesses 2 tests/guides

crash-points: $(VENV)/stamp ## each task killed at each of its steps, then run to the end; 3 minutes
	$(BIN)/pytest --numprocesses 2 tests/crash_points

e2e: $(VENV)/e2e-stamp ## scheduler, triggerer and API server while processes are killed; 15 minutes
	@$(BIN)/python -m scripts.system_programs initdb postgres pg_isready
	$(BIN)/pytest tests/e2e

compat: $(VENV)/stamp ## the built wheel on Airflow 3.1 to 3.4 and Python 3.10 to 3.14, and at its lower bounds; 2 hours
	$(NOX) $(NOXFLAGS)

compat-corners: newest-python ## the oldest and the newest of those combinations, and the lower bounds; 15 minutes
	$(NOX) --tags corners $(NOXFLAGS)

newest: newest-python ## everything at its newest version, pre-releases of Airflow included: says what breaks
	$(NOX) --session newest $(NOXFLAGS)

e2e-newest: newest-python ## the same as e2e on Airflow 3.4, where a clear discards a task's state; 10 minutes
	$(NOX) --session e2e $(NOXFLAGS)

browser-newest: newest-python ## the same as browser on Airflow 3.4
	@$(BIN)/python -m scripts.system_programs chromium
	$(NOX) --session browser $(NOXFLAGS)

# Where the newest Python can neither be found nor brought, these targets take the newest that there is.
newest-python: $(VENV)/stamp
	@PATH="$(INTERPRETERS)$$PATH" $(BIN)/uv python find --system 3.14 >/dev/null 2>&1 || UV_PYTHON_INSTALL_BIN=0 $(BIN)/uv python install 3.14 || echo "going on without Python 3.14"

audit: $(VENV)/stamp ## check for known vulnerabilities in everything in constraints.txt
	$(NOX) --session audit

files: $(VENV)/stamp ## large files, killed downloads, bad lines and full disks, on disk and in S3; 2 minutes
	$(BIN)/pytest --numprocesses 2 tests/transfers

scale: $(VENV)/stamp ## 10,000 rows in one batch task while its worker and triggerer are killed, measured; half an hour
	$(BIN)/pytest tests/scale

nights: $(VENV)/e2e-stamp ## an Excel export with pictures in S3, three nights, processes killed in each: what is billed; a quarter of an hour
	@$(BIN)/python -m scripts.system_programs initdb postgres pg_isready
	$(BIN)/pytest tests/nights

bench: $(VENV)/stamp ## measure everything, or one thing: make bench BENCH="polling --videos 1000"; see benchmarks/README.md
	$(BIN)/python -m benchmarks $(BENCH)

browser: $(VENV)/browser-stamp ## Airflow's UI in Debian's Chromium, with screenshots in .browser/
	@$(BIN)/python -m scripts.system_programs chromium
	$(BIN)/pytest tests/browser

distributed: $(VENV)/distributed-stamp ## CeleryExecutor, Redis, PostgreSQL: a worker and a triggerer are killed during a batch of 30
	@$(BIN)/python -m scripts.system_programs redis-server initdb postgres pg_isready
	$(BIN)/pytest tests/distributed

docs: $(VENV)/docs-stamp ## the pages of docs/ and the reference as a website in .site/; a broken link or anchor fails
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --quiet docs .site

# The one list of what the targets need of Debian beside Python and make.
system-packages: ## install, as root, Chromium for browser, PostgreSQL for e2e and distributed, Redis for distributed
	apt-get update --quiet
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends chromium postgresql redis-server

constraints: ## update constraints.txt (newest versions that pyproject.toml allows)
	$(BIN)/uv pip compile --universal --python-version 3.10 --upgrade --all-extras --group check --group browser --group distributed --group docs --no-header --no-annotate --quiet --output-file constraints.txt pyproject.toml
