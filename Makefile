PYTHON ?= python3
VENV ?= .venv
PROFILE ?= offline
NOTEBOOKS ?=
PYTEST_ARGS ?=
UV ?= uv
START ?=

PY := $(VENV)/bin/python
# -q -q leaves errors alone: pip's warnings are about its own settings.
PIP := $(PY) -m pip --disable-pip-version-check -q -q install --no-deps

# A CUDA build of torch names its CUDA packages; a CPU build names none.
WANTS_CUDA = $(PY) -c "import importlib.metadata as m, re, sys; \
  sys.exit(not any(re.match('nvidia|cuda|triton', r) for r in m.requires('torch')))"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test lab reference lint lock train-mlm clean distclean

help: ## list the targets and the variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) PROFILE=$(PROFILE) NOTEBOOKS=$(or $(NOTEBOOKS),(all)) START=$(or $(START),(none))"

setup: $(VENV)/.ready ## install everything into VENV (once; again when the lock changes)
	@echo "$(VENV) is ready"

run: $(VENV)/.ready ## run NOTEBOOKS headless with the parameters of PROFILE
	$(PY) -m nlp_helpers run --profile $(PROFILE) $(NOTEBOOKS)

test: $(VENV)/.ready ## run the tests (PYTEST_ARGS="-k word" runs some of them)
	$(PY) -m pytest -n 2 --dist loadscope $(PYTEST_ARGS)

lab: $(VENV)/.ready ## open the notebooks in JupyterLab
	$(VENV)/bin/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks

reference: $(VENV)/.ready ## run all notebooks (offline, float32) and make the result the new outputs/reference
	NLP_HELPERS_FLOAT32=1 $(PY) -m nlp_helpers run --force
	$(PY) -m nlp_helpers accept

lint: $(VENV)/.ready ## check style and format with ruff
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

lock: ## resolve the dependencies again (needs uv; VENV need not exist)
	@command -v $(UV) >/dev/null || { echo "error: UV=$(UV) not found (pip install uv)" >&2; exit 1; }
	UV="$(UV)" $(UV) run --no-project --with packaging requirements/compile.py

train-mlm: $(VENV)/.ready ## train the masked-language-model head, from scratch or from START=FOLDER (takes hours; needs Debian 12)
	$(PY) -m tools.mlm_head fetch
	$(PY) -m tools.mlm_head generate
	$(PY) -m tools.mlm_head collect
	$(PY) -m tools.mlm_head train --start-from "$(START)"

clean: ## remove all of outputs/ but reference/, and build/ with its training runs (leftovers only: python -m nlp_helpers clean)
	@[ ! -d outputs ] || find outputs -mindepth 1 -maxdepth 1 ! -name reference -exec rm -rf {} +
	rm -rf build

distclean: ## remove what clean removes, and VENV
	@[ -e $(VENV)/.ready ] || [ -e $(VENV)/.locked ] || [ -e $(VENV)/.unfinished ] || [ ! -e $(VENV) ] \
	  || { echo "error: $(VENV) was not made by make setup" >&2; exit 1; }
	@$(MAKE) --no-print-directory clean
	rm -rf $(VENV) nlp_helpers.egg-info

# The third-party packages.  They are always installed into an empty folder:
# what an interrupted or older set-up left there is never trusted.  While the
# work is going on, .unfinished names machine and process: nobody's own
# environment is ever emptied, nor one that another make is filling (on another
# machine, for half an hour).  .locked and .ready come last.
$(VENV)/.locked: $(addprefix requirements/,torch-cpu.txt lock.txt cuda.txt offline.txt)
	@command -v $(PYTHON) >/dev/null || { echo "error: PYTHON=$(PYTHON) not found; install Python 3.10 to 3.13, or name yours: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	  || { echo "error: PYTHON=$(PYTHON) is not Python 3.10 to 3.13; try make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "error: PYTHON=$(PYTHON) lacks venv (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@[ ! -e $(VENV) ] || [ -e $@ ] || [ -e $(VENV)/.unfinished ] \
	  || { echo "error: $(VENV) was not made by make setup; remove it or set VENV" >&2; exit 1; }
	@[ ! -e $(VENV)/.unfinished ] || { read -r host pid; \
	    if [ "$$host" = "$$(uname -n)" ]; then ! kill -0 "$$pid" 2>/dev/null; \
	    else [ -z "$$(find $(VENV)/.unfinished -mmin -30)" ]; fi; } < $(VENV)/.unfinished \
	  || { echo "error: another make is setting up $(VENV); wait for it. If none is running, remove $(VENV)" >&2; exit 1; }
	@echo "Setting up $(VENV), once, in a few minutes: 0.75 GB to download, 2.6 GB on disk (with CUDA: 3.3 GB and 6.3 GB)"
	@mkdir -p $(VENV) && echo "$$(uname -n) $$PPID" > $(VENV)/.unfinished
	@find $(VENV) -mindepth 1 -maxdepth 1 ! -name .unfinished -exec rm -rf {} +
	@$(PYTHON) -m venv $(VENV)
	@echo "  torch without CUDA, if an index offers it (requirements/torch-cpu.txt)"
	@$(PIP) --require-hashes -r requirements/torch-cpu.txt 2>/dev/null || true
	@echo "  libraries (requirements/lock.txt)"
	@$(PIP) --require-hashes -r requirements/lock.txt
	@if $(WANTS_CUDA); then echo "  CUDA packages (requirements/cuda.txt)"; \
	  $(PIP) --require-hashes -r requirements/cuda.txt; fi
	@echo "  models and texts (requirements/offline.txt)"
	@$(PIP) --require-hashes -r requirements/offline.txt
	@mv $(VENV)/.unfinished $@ && touch $@

# This project itself, in place: edits count without another set-up.
$(VENV)/.ready: $(VENV)/.locked pyproject.toml
	@echo "  this project (editable)"
	@$(PIP) --no-build-isolation -e .
	@$(PY) -c "import matplotlib.font_manager" 2>/dev/null # its cache, else announced later
	@touch $@
