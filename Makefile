PYTHON ?= python3
VENV ?= .venv
PROFILE ?= offline
NOTEBOOKS ?=
PYTEST_ARGS ?=
LAB_ARGS ?=
UV ?= uv
START ?=
COLAB_TORCH ?=

# make cannot have a space in a target's name, and an empty VENV would be /.
ifneq ($(words $(VENV)),1)
$(error VENV=$(VENV) is empty or has a space: name a folder without one, for example make VENV=.venv)
endif
ifeq ($(strip $(PYTHON)),)
$(error PYTHON is empty: name a Python 3.10 to 3.13, for example make PYTHON=python3.11)
endif

PY := $(VENV)/bin/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test test-all test-colab lab reference lint site slides course badges lock train-mlm clean distclean

help: ## list the targets and the variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) PROFILE=$(PROFILE) NOTEBOOKS=$(or $(NOTEBOOKS),(all)) START=$(or $(START),(none))"

# Notebook 07 needs packages that nothing else does.
ifneq ($(filter 7 07 07_%,$(NOTEBOOKS)),)
run reference: $(VENV)/.vectors
endif

setup: $(VENV)/.ready ## install everything into VENV (once; again when the lock changes)
	@echo "$(VENV) is ready"

run: $(VENV)/.ready ## run NOTEBOOKS headless with the parameters of PROFILE
	$(PY) -m nlp_helpers run --profile $(PROFILE) $(NOTEBOOKS)

test: $(VENV)/.ready ## run the tests but the slow ones (PYTEST_ARGS="-k word": some of them)
	$(PY) -m pytest --nbval -n 2 --dist loadscope -m "not slow" $(PYTEST_ARGS)

test-all: $(VENV)/.ready $(VENV)/.vectors $(VENV)/.docs ## run every test (PYTEST_ARGS="-m slow": the slow ones alone)
	$(PY) -m pytest --nbval -n 2 --dist loadscope $(PYTEST_ARGS)

test-colab: $(VENV)/.ready ## run the notebooks as on Colab (5 GB; COLAB_TORCH=torch==2.13.0+cpu: another torch)
	TEST_COLAB=1 COLAB_TORCH="$(COLAB_TORCH)" $(PY) -m pytest -s tests/colab $(PYTEST_ARGS)

lab: $(VENV)/.ready ## open copies of the notebooks in JupyterLab (LAB_ARGS="--port 8890": its options)
	@mkdir -p my_notebooks
	@for source in notebooks/*.ipynb; do copy="my_$$source"; \
	  if [ ! -e "$$copy" ]; then cp "$$source" "$$copy"; \
	  elif [ "$$source" -nt "$$copy" ]; then \
	    echo "$$copy is kept; $$source has changed since: rename your copy to get the new one"; fi; done
	JUPYTER_CONFIG_PATH="$(CURDIR)/.jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	  $(VENV)/bin/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/my_notebooks $(LAB_ARGS)

reference: $(VENV)/.ready ## run NOTEBOOKS (offline, float32) and make the result the new outputs/reference
	NLP_HELPERS_FLOAT32=1 $(PY) -m nlp_helpers run --force $(NOTEBOOKS)
	$(PY) -m nlp_helpers accept $(NOTEBOOKS)

lint: $(VENV)/.ready ## check style and format with ruff, types with mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

site: $(VENV)/.ready $(VENV)/.docs ## build the site of notebooks, guides and API in build/site
	$(PY) -m tools.website build/site
	@echo "open build/site/index.html"

slides: $(VENV)/.ready $(VENV)/.docs ## write slides of the notebooks into build/slides
	$(PY) -m tools.website.slides build/slides

course: slides ## pack tasks, solutions, assignments, slides and plan into build/course.zip
	@rm -f build/course/*.whl
	$(PY) -m pip wheel -q --no-deps -w build/course .
	$(PY) -m tools.course --no-run
	$(PY) -m tools.course_pack build/course.zip

badges: ## write the address of this repository (remote origin) into README and notebooks
	$(PYTHON) tools/badges.py

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

# requirements/install.py says how; it needs a Python that can read it.
$(VENV)/.locked: $(addprefix requirements/,torch-cpu.txt lock.txt cuda.txt offline.txt)
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	  || { echo "error: PYTHON=$(PYTHON) is not there or not Python 3.10 to 3.13; install one, or name yours: make PYTHON=python3.11" >&2; exit 1; }
	@"$(PYTHON)" requirements/install.py packages $(VENV)

$(VENV)/.vectors: $(VENV)/.locked requirements/vectors.txt
	@$(PY) requirements/install.py vectors $(VENV)

$(VENV)/.docs: $(VENV)/.locked requirements/docs.txt
	@$(PY) requirements/install.py docs $(VENV)

$(VENV)/.ready: $(VENV)/.locked pyproject.toml
	@$(PY) requirements/install.py project $(VENV)
