# make demo | test | check-long | lint | man | doc | bench: each creates what it needs in .venv.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin

.PHONY: all demo test check-long lint man doc bench venv clean

all: demo

venv: $(VENV)/.base

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.lint: $(VENV)/.base
	$(BIN)/pip install --quiet --editable '.[test,lint]'
	touch $@

$(VENV)/.doc: $(VENV)/.base
	$(BIN)/pip install --quiet --editable '.[doc]'
	touch $@

$(VENV)/.bench: $(VENV)/.base
	$(BIN)/pip install --quiet --editable '.[bench]'
	touch $@

demo: $(VENV)/.base
	sh samples/demo.sh

test: $(VENV)/.test
	$(BIN)/python -m pytest -q -m "not long" -n 2 --dist loadfile

# What takes too long for every day: many kills, soaks, large collections.
check-long: $(VENV)/.test
	$(BIN)/python -m pytest -v -m long --durations=0

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	if command -v groff >/dev/null; then sh man/lint.sh; fi

# Writes the options' declarations, tables and shared text into the manual pages, and the shells' completions.
man: $(VENV)/.base
	$(BIN)/python man/build.py
	$(BIN)/python man/completions.py

doc: $(VENV)/.doc
	$(BIN)/pdoc -d numpy -o build/doc overfeat_tools.library overfeat_tools.compat overfeat_tools.errors \
	    '!overfeat_tools.compat.torch' '!overfeat_tools.library.[a-z]*' overfeat_tools.library.opened

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
