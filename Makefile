# Fine-Tuning GPT, Hands-On. `make lab` opens the course, `make test` tests it.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= auto
PROFILE ?= cpu
LESSON_JOBS ?= 1
BIN := $(VENV)/bin
LESSONS := notebooks/00_start_here.ipynb notebooks/03_text_classification.ipynb
STAMP := $(VENV)/.setup-done
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup lab test browser outside check lessons pages clean

help:
	@echo "make lab      set up if needed, open the lessons in JupyterLab"
	@echo "make test     set up if needed, run every test"
	@echo "make browser  the tests that need Chromium"
	@echo "make outside  exports read back by programs of others, a sweep on PostgreSQL,"
	@echo "              every lesson with bases of other architectures"
	@echo "make check    lint, types, lessons and questions"
	@echo "make lessons  rebuild the notebooks from notebooks/source (PROFILE=cpu)"
	@echo "make pages    pages and slides from the notebooks, in build/"
	@echo "make clean    remove caches; keeps .venv, work and runs"

setup: $(STAMP)

# Runs again only when the lock or the package's metadata change. A torch that is
# already in the environment is kept: the lock's line for it is left out then.
$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: make PYTHON=python3.11 setup" >&2; exit 3; }
	@if $(BIN)/python -c 'import importlib.metadata as m; print("keeping torch", m.version("torch"))' 2>/dev/null; \
	  then grep -v '^torch==' requirements.lock > $(VENV)/lock.txt; \
	  else cp requirements.lock $(VENV)/lock.txt; fi
	$(BIN)/python -m pip install -r $(VENV)/lock.txt
	$(BIN)/python -m pip install --no-deps -e .
	@touch $@

lab: setup
	$(BIN)/course lab

test: setup
	OMP_NUM_THREADS=1 COURSE_PROFILE=quick $(BIN)/python -m pytest -n $(JOBS) --dist loadfile \
	  -m "not outside" --nbval-lax tests --ignore=tests/browser $(LESSONS)

# Besides Chromium: the readers of exports and JupyterHub's proxy, which .ci/run installs.
browser: setup
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest tests/browser

# Programs of others that .ci/run installs: readers of exports, PostgreSQL. And what takes long.
outside: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m outside tests/test_export.py tests/test_sweep.py \
	  tests/test_other_base.py

check: setup
	$(BIN)/ruff check course_lib tests hub conftest.py
	$(BIN)/mypy
	$(BIN)/course check

lessons: setup
	$(BIN)/course build --profile $(PROFILE) --jobs $(LESSON_JOBS)

pages: setup
	$(BIN)/course build --to pages
	$(BIN)/course build --to slides

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache course_lib.egg-info
	find course_lib tests -name __pycache__ -type d -prune -exec rm -rf {} +
