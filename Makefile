# make demo | test | test-fast | check | docs | package | bench | clean. Each sets up .venv by itself.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Tests start processes: what is compiled is kept for the next one, also where images of Python say otherwise.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast check docs package bench clean

demo: .venv/ready
	$(BIN)/specmatch demo $(ARGS)

# Everything, then the library rooms once more with the shapes of their annotations checked, on all cores. ARGS="-n 0": on one.
test: check
	$(BIN)/python -m pytest -n auto $(ARGS)
	CHECK_SHAPES=1 $(BIN)/python -m pytest -n auto $(ARGS) tests/spectrum tests/methods tests/diffusion

test-fast: .venv/ready
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages, to be opened from site/index.html: nothing in them is loaded from the net.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --clean

# dist/*.tar.gz and dist/*.whl.
package: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt build
	$(BIN)/python -m build

bench: .venv/ready
	for question in bench/how_*.py bench/what_*.py; do $(BIN)/python $$question || exit 1; done

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site

# The constraints pin every version; without them pip would take the newest torch and several GB with it.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
