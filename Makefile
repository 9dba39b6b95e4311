# Everything a newcomer needs: `make demo` and `make test` set up .venv themselves; a second call is quick.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

.PHONY: demo dev test check format bench bench-large lock clean

demo: .venv/.installed
	@$(BIN)/ingest demo

dev: .venv/.installed
	@DAGSTER_HOME="$$($(BIN)/python -m ingest_pipeline.launch)" $(BIN)/dagster dev -w workspace.yaml

test: .venv/.installed-dev
	$(BIN)/pytest -n logical --dist loadfile

check: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.installed-dev
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/fold.py --quick
	$(BIN)/python benchmarks/readers.py
	$(BIN)/python benchmarks/api.py --quick

# Reads exports of 1 GB: some ten minutes.
bench-large: .venv/.installed-dev
	$(BIN)/python benchmarks/readers.py --large

# Resolve pyproject.toml anew. Hashes are locked, addresses are not.
lock: .venv/.installed-dev
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--group build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--group build --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing $$(grep -c == requirements.lock) locked packages into .venv (a minute or two) …"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@

.venv/.installed-dev: requirements-dev.lock .venv/.installed
	@echo "Installing what the tests need …"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@
