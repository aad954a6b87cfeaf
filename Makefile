# Two commands set up a fresh machine, each by itself: `make demo` and `make test`. Both need Python 3.11, 3.12 or 3.13.
VENV := .venv
BIN := $(VENV)/bin
PATHS := jobs operators tests benchmarks

# The first of these that runs, is supported and can make a virtual environment; PYTHON= names another.
CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3.13 python3)
SUPPORTED := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
FOUND = $(firstword $(foreach each,$(CANDIDATES),$(shell $(each) -c '$(SUPPORTED)' 2>/dev/null && echo $(each))))
NONE = Winnow needs Python 3.11, 3.12 or 3.13 with its venv module; $(if $(PYTHON),$(PYTHON) is not that,none was \
found): install one (Debian: apt install python3 python3-venv), or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3

ifdef PYTHON
$(if $(FOUND),,$(error $(NONE)))
endif

# uv does not read pip's settings. Bytecode is compiled once, here: a machine that keeps Python from writing it would
# compile torch in every worker.
UV := $(if $(PIP_FIND_LINKS),UV_FIND_LINKS="$(PIP_FIND_LINKS)") $(BIN)/uv pip install --quiet --compile-bytecode \
	--python $(BIN)/python --constraint constraints.txt

.PHONY: demo test reliability check fix bench notebooks clean

# Each stamp stands for one set of packages; a changed pyproject.toml or constraints.txt installs anew.
$(VENV)/.uv:
	$(or $(FOUND),$(error $(NONE))) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	touch $@

$(VENV)/.demo: $(VENV)/.uv pyproject.toml constraints.txt
	$(UV) -e '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/.uv pyproject.toml constraints.txt
	$(UV) -e '.[demo,cpu,test,dev]'
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/winnow demo

# A process that crashes ends the run: pytest-xdist 3.8 gives its files to the others again, also those that are done,
# and waits for ever for a process that has only such files.
PYTEST = $(BIN)/python -m pytest -q -n 2 --dist loadfile --max-worker-restart=0

# In the order of the tree, the files that use Ray come first and many short ones last: both processes end together.
test: $(VENV)/.test
	$(PYTEST) --no-loadscope-reorder

# Writes docs/reliability.md, the table of the faults that tests inject.
reliability: $(VENV)/.test
	$(PYTEST) -m fault --reliability=docs/reliability.md

check: $(VENV)/.test
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python .ci/recipe_lengths.py

fix: $(VENV)/.test
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

bench: $(VENV)/.test
	for file in benchmarks/[a-z]*.py; do $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

notebooks: $(VENV)/.test
	$(BIN)/python -m pytest -q tests/test_notebooks.py

clean:
	rm -rf $(VENV) .winnow out
