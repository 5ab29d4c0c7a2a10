# Everything runs in .venv (test-oldest: in .venv-oldest), made with plain pip; delete the folder to start afresh.
PYTHON ?= python3
BIN := .venv/bin
RUN := env -u PYTHONPATH -u PYTHONHOME $(BIN)
WORKERS ?= 2

.PHONY: demo test test-slow test-oldest lint types layers pytest mutants bench cards clean

demo: .venv/demo.stamp
	$(RUN)/python examples/demo.py

test: lint types layers pytest

# The same tests with the lowest version of every library that pyproject.toml admits.
test-oldest: .venv-oldest/dev.stamp
	env -u PYTHONPATH -u PYTHONHOME .venv-oldest/bin/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

lint: .venv/dev.stamp
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: .venv/dev.stamp
	$(RUN)/mypy
	$(RUN)/mypy tests/models/test_kinds.py

layers: .venv/dev.stamp
	$(RUN)/lint-imports

# In random order; pytest prints its seed, and PYTEST_ARGS="--randomly-seed=N" is that order again.
pytest: .venv/dev.stamp
	$(RUN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

# What takes long, and would find little more in daily work; .ci/run does it after the rest.
test-slow: .venv/dev.stamp
	$(RUN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow $(PYTEST_ARGS)

# Changes the code in small ways and lists the changes that no test notices.
mutants: .venv/mutants.stamp
	$(RUN)/python .ci/mutants.py $(MUTANTS_ARGS)

bench: .venv/dev.stamp
	$(RUN)/python -m benchmarks $(BENCH_ARGS)

# Fills the tables of README.md, docs/ and model_cards/ from the JSON files that commands wrote.
cards: .venv/dev.stamp
	$(RUN)/python -m model_cards.render

clean:
	rm -rf .venv .venv-oldest dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# A stamp file is newer than pyproject.toml when the extras it stands for are installed as written there.
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pointmae-zoo needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml | .venv/bin/python
	@echo "installing the package and its libraries into .venv, once: PyTorch is large, this takes a few minutes"
	$(RUN)/python -m pip install --quiet -e ".[fast,viz]"
	touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	$(RUN)/python -m pip install --quiet -e ".[dev]"
	touch $@ .venv/demo.stamp

.venv/mutants.stamp: .venv/dev.stamp
	$(RUN)/python -m pip install --quiet -e ".[mutants]"
	touch $@

.venv-oldest/dev.stamp: pyproject.toml .ci/oldest.py
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python .ci/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet -e ".[dev]" -c .venv-oldest/constraints.txt
	touch $@
