# Two commands do everything: `make demo` and `make test`. `make docs` builds the site,
# `make test-matrix` and `make release-check` are for a release, `make test-whole` is for hours.
PYTHON ?= python3
PYTHONS ?= python3.11 python3.12
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo
export MPLBACKEND := Agg

.PHONY: demo gallery test docs docs-whole test-whole test-matrix release-check test-oldest test-newest
.PHONY: lint types clean

# Not compiled: of 12,000 files a run imports a third, and compiles those itself.
$(BIN)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "markovbridge needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[dev]'
	touch $@

# One thread: nearly as fast as two for so small a network, and two wait for each other where
# another program takes one of the cores.
demo: export OMP_NUM_THREADS ?= 1
demo: $(BIN)/.installed  ## Train on the 8x8 digits, sample, evaluate, draw, report.
	$(BIN)/markovbridge train digits --output $(RUN) --overwrite true
	$(BIN)/markovbridge sample $(RUN) --n 1437 --steps 10
	$(BIN)/markovbridge evaluate $(RUN)
	$(BIN)/markovbridge report $(RUN)

gallery: $(BIN)/.installed  ## Run all of examples/, keep their pictures in docs/images/gallery.
	$(BIN)/python benchmarks/gallery.py

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --threads

# What tests hand over is wrong on purpose, so that names, results and unbound variables are
# checked there, and the types of arguments are not.
types: $(BIN)/.installed  ## Type-check tests, benchmarks and examples.
	$(BIN)/pyright --threads -p tests

# Compiled files are kept, whatever the shell says: tests start many processes.
demo docs test test-whole test-oldest test-newest: export PYTHONDONTWRITEBYTECODE :=
test: lint  ## Lint, type-check, run the tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test-whole: lint  ## All members of all families of tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --whole

$(BIN)/.docs: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[docs]'
	touch $@

# A warning is an error: a link that leads nowhere, a public name that says nothing of itself.
# Then every block of code is run, briefly; `make docs-whole` runs them as they are written, which
# takes hours, and keeps how long each took.
docs: export OMP_NUM_THREADS ?= 1
docs: $(BIN)/.docs  ## The site, in build/site.
	$(BIN)/sphinx-build --quiet --fresh-env -W --keep-going -n -b html -c docs/site docs build/site
	$(BIN)/python docs/site/execute.py > build/blocks.txt 2> build/blocks.log \
	  || { grep FAILED build/blocks.txt; exit 1; }
	@tail -n 8 build/blocks.txt
	@echo "open build/site/index.html"

docs-whole: export OMP_NUM_THREADS ?= 1
docs-whole: $(BIN)/.docs  ## Every block of code as it is written.
	$(BIN)/python docs/site/execute.py --whole

# Neither pins torch as constraints.txt does, and a plain torch brings GPU packages:
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu has the CPU builds.
test-matrix: types test-oldest test-newest  ## The tests with the oldest and the newest dependencies.

.venv-%/.installed: pyproject.toml constraints-oldest.txt
	rm -rf .venv-$*
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --upgrade pip
	.venv-$*/bin/python -m pip install --quiet --no-compile $(PINS_$*) -e '.[dev]'
	touch $@

PINS_oldest := -c constraints-oldest.txt

test-oldest test-newest: test-%: .venv-%/.installed
	.venv-$*/bin/python -m pip list
	OMP_NUM_THREADS=1 .venv-$*/bin/python -m pytest

release-check:  ## Build, look at what is built, install it everywhere, use it.
	.ci/release $(PYTHONS)

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest runs build dist docs/reference
