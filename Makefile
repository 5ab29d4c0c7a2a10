# Everything runs in .venv, made with plain pip; delete the folder to start afresh.
PYTHON ?= python3
BIN := .venv/bin
RUN := env -u PYTHONPATH -u PYTHONHOME $(BIN)
WORKERS ?= 2

.PHONY: demo test lint types layers pytest bench cards clean

demo: .venv/demo.stamp
	$(RUN)/python examples/demo.py

test: lint types layers pytest

lint: .venv/dev.stamp
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: .venv/dev.stamp
	$(RUN)/mypy

layers: .venv/dev.stamp
	$(RUN)/lint-imports

pytest: .venv/dev.stamp
	$(RUN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

bench: .venv/dev.stamp
	$(RUN)/python -m benchmarks $(BENCH_ARGS)

# Fills the tables of README.md and model_cards/ from the JSON files that commands wrote.
cards: .venv/dev.stamp
	$(RUN)/python model_cards/render.py

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# A stamp file is newer than pyproject.toml when the extras it stands for are installed as written there.
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pointmae-zoo needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml | .venv/bin/python
	$(RUN)/python -m pip install --quiet -e ".[fast,viz]"
	touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	$(RUN)/python -m pip install --quiet -e ".[dev]"
	touch $@ .venv/demo.stamp
