# Everything here runs in .venv, which `make` creates from requirements.lock.
# Needed: Python 3.11 or newer, and make. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PORT ?= 8000
# Two workers with one thread each: threads that wait for each other are slower.
WORKERS ?= 2
# The chapters first, as they take longest; each stays with one worker and one kernel.
PYTEST = -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations=10 \
  --nbval-lax --nbval-current-env --nbval-cell-timeout 300 \
  --cov --cov-report=term-missing:skip-covered book tests
export OMP_NUM_THREADS := 1
export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help book test serve clean update-outputs lock format check venv lab lab-tools

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

book: $(READY) ## build the site in _build/html, warnings being errors
	@$(RUN) -m tools.build --workers $(WORKERS)

test: $(READY) check book ## build the site, then run every test
	@EBM_REQUIRE_SITE=1 $(RUN) -m pytest $(PYTEST)

check: $(READY) ## check style, the form of the chapters and the versions
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check .
	@$(RUN) -m tools.notebooks --check
	@$(RUN) -m tools.lock --check

serve: book ## show the built site on this machine (PORT=8000)
	@echo "The book is at http://localhost:$(PORT)/ (Ctrl+C stops it)"
	@$(RUN) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

update-outputs: $(READY) ## run the chapters and store their checked outputs
	@$(RUN) -m tools.notebooks --update

format: $(READY) ## format the code and bring the chapters to their normal form
	@$(RUN) -m ruff check --fix-only -q . && $(RUN) -m ruff format -q .
	@$(RUN) -m tools.notebooks --fix

lock: $(READY) ## resolve the ranges of pyproject.toml anew into requirements.lock
	@$(RUN) -m tools.lock --update

# Reading, building and testing the book need no node: the bundle is committed.
lab: lab-tools ## bundle the EBM Lab anew after a change of ebmlib/widgets/lab (needs node)
	@npm run --silent build

lab-tools: node_modules/.package-lock.json ## only get what bundles and checks the EBM Lab

node_modules/.package-lock.json: package.json package-lock.json
	@command -v npm >/dev/null || { echo "node 18 or newer with npm is needed to work on \
	the EBM Lab (Debian: apt-get install nodejs npm)" >&2; exit 1; }
	@npm ci --silent --no-audit --no-fund
	@touch $@

clean: ## delete what a build wrote; `rm -r .venv` deletes the environment
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

venv: $(READY) ## only make the environment

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) \
	  else "Python 3.11 or newer is needed, this is %d.%d. Say which one to use: \
	make PYTHON=python3.12 ..." % v[:2])'
	@echo "-- making the environment $(VENV) from requirements.lock (about a minute, and the downloads)"
	@$(PYTHON) -c 'import time; print(int(time.time()))' > .venv-start.tmp
	@$(PYTHON) -m venv --clear $(VENV)
	@$(RUN) -m pip install -qq --progress-bar off -r requirements.lock
	@$(RUN) -m pip install -qq --no-deps --no-build-isolation -e .
	@$(RUN) -c 'import time; start = int(open(".venv-start.tmp").read()); \
	  print("   done in %d s" % (time.time() - start))'
	@rm -f .venv-start.tmp
	@touch $@
