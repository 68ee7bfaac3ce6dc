# Two commands from an empty machine: `make lab` reads the lessons, `make test` checks everything.
# Both need Python 3.11 or newer and make; the first call makes .venv and fills it from requirements.lock.
# Another interpreter: make lab PYTHON=/path/to/python3.12

.DEFAULT_GOAL := help
.PHONY: help lab check test lint types format docs site bench gpu trust lock pairs clean

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
READY := .venv/.ready

# The first of these that starts and is new enough (a name on the path may be a stub that does not start).
CANDIDATES := python3 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

lab: $(READY) ## open the lessons in JupyterLab
	$(BIN)/scdlab lab

# One thread for each of the two processes: more would wait for one another.
check test: export OMP_NUM_THREADS = 1
check: lint ## lint and the fast tests (two minutes on two cores)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadgroup -m "not slow" -q tests/unit tests/symmetry tests/parity

test: lint ## everything that must hold: lint, floors, pairs, tests (about 25 minutes on two cores)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadgroup --no-loadscope-reorder --durations=15

lint: $(READY) types ## ruff, the floors, pyright, and the notebooks against their sources
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/prose.py check
	$(BIN)/python tools/pairs.py check

types: $(READY) ## pyright, on the library and on the code blocks of the pages
	$(BIN)/python tools/code_blocks.py scdlab

format: $(READY) ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## the reference and the guides, as pages in build/docs
	$(BIN)/python tools/docs.py

site: $(READY) ## the lessons with their results, as pages in build/site (runs those that are not there yet)
	$(BIN)/scdlab site

bench: $(READY) ## time the models against their peers
	$(BIN)/scdlab bench

# The machine with the card may have no network: its own Python will do, see tools/gpu.py.
MINUTES ?= 9
gpu: ## test and time everything on an NVIDIA card, in MINUTES=9; it goes on where it stopped
	$(or $(wildcard $(BIN)/python),$(PYTHON)) tools/gpu.py --minutes $(MINUTES)

trust: $(READY) ## damage, kill and starve everything, in full (a night); it goes on where it stopped
	$(BIN)/python tests/trust/run.py

pairs: $(READY) ## build notebooks/*.ipynb from notebooks/src
	$(BIN)/python tools/pairs.py build

lock: $(READY) ## bring everything up to date within pyproject.toml's ranges and write requirements.lock
	$(BIN)/python -m pip install --upgrade --upgrade-strategy eager --no-build-isolation -e '.[lessons,chem,qm9,torchsim,bench,dev]'
	$(BIN)/python tools/lock.py
	@touch $(READY)

clean: ## remove everything that can be made again, .venv included
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist runs

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { \
	echo "scdlab needs Python 3.11 or newer and found none: install one, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
	echo "$(PYTHON) could not make .venv: on Debian and Ubuntu install the package python3-venv, then try again"; exit 1; }
	@echo "filling .venv from requirements.lock; this takes some minutes, once"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@echo "compiling the fused kernels for this machine, once"
	$(BIN)/python -c "from scdlab.nn.ops.runtime import compile_all; compile_all()"
	@touch $(READY)
