# Two commands set up a fresh machine, each by itself: `make demo` and `make test`. Both need Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Bytecode is compiled once, here: a machine that keeps Python from writing it would compile torch in every worker.
UV := UV_FIND_LINKS="$(PIP_FIND_LINKS)" $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python \
	--constraint constraints.txt
PATHS := jobs operators tests benchmarks

.PHONY: demo test check fix bench notebooks clean

# Each stamp stands for one set of packages; a changed pyproject.toml or constraints.txt installs anew.
$(VENV)/.uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	touch $@

$(VENV)/.demo: $(VENV)/.uv pyproject.toml constraints.txt
	$(UV) -e '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/.uv pyproject.toml constraints.txt
	$(UV) -e '.[demo,cpu,test,dev]'
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/python -m jobs.demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

check: $(VENV)/.test
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

fix: $(VENV)/.test
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

bench: $(VENV)/.test
	for file in benchmarks/[a-z]*.py; do $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

notebooks: $(VENV)/.test
	$(BIN)/python -m pytest -q tests/test_notebooks.py

clean:
	rm -rf $(VENV) .winnow out
