# Everything from a fresh clone: needs git, make and Python 3.11 or newer.
#   make sweep   the main job: learn modules, compare networks, draw the figure
#   make test    lint, notebooks, tests
PYTHON ?= python3
# Where to take torch from, if not from the default index: the README has the addresses.
TORCH_INDEX ?=

SHELL := bash
.DEFAULT_GOAL := help
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# The networks are small: threads would spend their time waiting for each other.
export OMP_NUM_THREADS ?= 1

.PHONY: help sweep test release-test book lint export lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

sweep: $(READY) ## run the main job: nbs/_runs/sweep.ipynb has its table and figure
	papermill --log-output nbs/sweep.ipynb nbs/_runs/sweep.ipynb -p m 8

test: lint ## check style, notebooks, package, book and main job
	nbdev_test --n_workers 2 --timing
	pytest --durations=5 -n 2 --dist loadfile

release-test: $(READY) ## what takes minutes: fifty kills, the whole of scikit-learn's checks
	pytest -m slow --durations=5

book: $(READY) ## build the book into _build/html
	rm -rf _build
	jupyter-book build . -W -n --keep-going

lint: $(READY) ## check style and format of modules, tests and notebooks
	ruff check .
	ruff format --check .

export: $(READY) ## notebooks without outputs, and the modules that they export
	nbstripout --keep-id nbs/*.ipynb
	nbdev_clean
	find modbook -name '*.py' -delete
	nbdev_export

clean: ## remove the environment, the built book and other outputs
	rm -rf $(VENV) _build nbs/_runs/* build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is set up once, and again only when one of these files changes.
$(READY): requirements.txt settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "modbook needs Python 3.11 or newer, and '$(PYTHON)' is not." \
	    "Name another one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "modbook needs Python's venv module, and '$(PYTHON)' lacks it." \
	    "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@set -e; start=$$(date +%s); \
	echo "Setting up $(VENV) (the first time it downloads torch, which is large)"; \
	$(PYTHON) -m venv $(VENV); \
	torch=$$(grep '^torch==' requirements.txt); \
	echo "  $$torch$(if $(TORCH_INDEX), from $(TORCH_INDEX))"; \
	$(VENV)/bin/python -m pip install -qq $$torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)); \
	echo "  $$(grep -c '==' requirements.txt) packages of requirements.txt"; \
	$(VENV)/bin/python -m pip install -qq -r requirements.txt; \
	echo "  modbook itself, editable"; \
	$(VENV)/bin/python -m pip install -qq --no-deps --no-build-isolation -e .; \
	touch $@; echo "Set up in $$(($$(date +%s) - start)) s"

lock: ## pin requirements.txt anew from settings.ini
	@set -e; new=$$(mktemp -d); trap 'rm -rf $$new' EXIT; $(PYTHON) -m venv $$new; \
	grep '^#' requirements.txt > $$new/pins; \
	wanted() { $$new/bin/python -c "from configparser import ConfigParser as C; \
	c = C(delimiters=['=']); c.read('settings.ini'); print(c['DEFAULT']['$$1'])"; }; \
	$$new/bin/python -m pip install -qq $$(grep '^torch==' requirements.txt); \
	$$new/bin/python -m pip install -qq setuptools wheel \
	  $$(wanted requirements) $$(wanted dev_requirements); \
	$$new/bin/python -m pip freeze --all --exclude pip | sed 's/+[a-z0-9]*$$//' >> $$new/pins; \
	mv $$new/pins requirements.txt
