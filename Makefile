# make demo: installs the core and the phantom, and aligns a phantom patient.   make setup: installs everything, pinned.
# make test: sets up and runs the tests.   make docs: builds the site.
PYTHON ?= python3
VENV   ?= .venv
# Processes that share the tests, each with one thread.
WORKERS ?= 2
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEMO   := $(VENV)/.demo-ready

.PHONY: demo test lint docs setup vendor clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $$(grep '^torch==' requirements.lock)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $(READY)

# The viewer's NiiVue, from npm; building the package does it as well where there is npm.
vendor:
	$(PYTHON) hatch_build.py

# What the demo needs, unless everything is there already.
$(DEMO): requirements.lock pyproject.toml
	test -e $(READY) || { $(PYTHON) -m venv $(VENV) && \
	    $(BIN)/python -m pip install --quiet $$(grep '^torch==' requirements.lock) && \
	    $(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[phantom]'; }
	touch $(DEMO)

demo: $(DEMO)
	$(BIN)/jssr demo -o demo --system jssr

lint: setup
	$(BIN)/ruff check src tests benchmarks projects hatch_build.py
	$(BIN)/ruff format --check src tests benchmarks projects hatch_build.py
	$(BIN)/mypy

test: setup
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# The site, into site/; its notebook is run.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:
	rm -rf $(VENV) demo build dist site
