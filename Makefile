# Everything a developer does here. Needs Python 3.11 or newer, and Go only for `make servers` and `make homes`.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
ARGS    ?=
SEEDS   ?= 1000
FIRST   ?= 1
MINUTES ?= 5
MODE    ?= single
SEED    ?=

UV_VERSION := 0.13.9

.DEFAULT_GOAL := help
.PHONY: help venv demo test homes simulate pairs soak chaos coverage mutants bench lint format servers lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## create .venv with everything that the lock names

$(STAMP): requirements/dev.txt pyproject.toml rotator/__init__.py
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python 3.11 or newer is needed; $(PYTHON) is {v[0]}.{v[1]}" if v < (3, 11) else 0)'
	@echo "==> creating or updating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "==> installing the locked dependencies (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@echo "==> installing rotator itself, editable"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
	@echo "==> $(VENV) is ready"

demo: venv  ## watch a whole rotation on this machine, without accounts
	$(BIN)/rotator demo $(ARGS)

test: venv  ## run the tests; ARGS="-k name" is passed to pytest
	$(BIN)/python -m pytest $(ARGS)

homes: venv servers  ## run rotator in real homes: systemd, Kubernetes, image (root, Debian, Go); ARGS as above
	@tests/servers/kubernetes/build
	@tests/homes/install
	$(BIN)/python -m pytest tests/homes $(ARGS)

simulate: venv  ## run SEEDS simulated lives from seed FIRST on
	$(BIN)/python -m tests.simulation $(SEEDS) $(FIRST)

pairs: venv  ## run a rotation with every two things that can go wrong in it (20 minutes)
	$(BIN)/python -m tests.engine.pairs $(ARGS)

soak: venv  ## twenty targets under load, every fault path, twenty take-overs, ten thousand signals
	ROTATOR_LONG=1 $(BIN)/python -m pytest -s tests/end_to_end/test_many_targets.py tests/end_to_end/test_canaries.py \
		tests/end_to_end/test_replicas.py tests/daemon/test_storm.py

chaos: venv  ## kill the daemon for MINUTES beside a real Vault; MODE=raft kills the leader of three
	$(BIN)/python -m tests.chaos $(MINUTES) $(MODE) $(SEED)

coverage: venv  ## run the tests and count what they reach: core and engine whole, 95 % of everything
	@tests/coverage $(ARGS)

mutants: venv  ## change core and engine piece by piece; ARGS="rotator/core/plan.py" for some of it
	$(BIN)/python -m tests.mutation $(ARGS)

bench: venv  ## time status, plan, the status page, the start and an idle minute, a thousand targets
	$(BIN)/python bench/status_calls.py $(ARGS)
	$(BIN)/python bench/status_page.py
	$(BIN)/python bench/daemon.py

lint: venv  ## check style, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: venv  ## format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

servers:  ## build the real Vault that the tests drive (6 minutes once; needs Go)
	@tests/servers/build-vault

lock:  ## resolve the dependencies again and write requirements/*.txt
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	echo "==> installing uv $(UV_VERSION) in a temporary environment" && \
	$(PYTHON) -m venv "$$dir" && "$$dir/bin/pip" install --quiet --disable-pip-version-check "uv==$(UV_VERSION)" && \
	compile="$$dir/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url $(ARGS)" && \
	UV_CUSTOM_COMPILE_COMMAND="make lock" && export UV_CUSTOM_COMPILE_COMMAND && \
	echo "==> requirements/run.txt" && $$compile pyproject.toml -o requirements/run.txt && \
	echo "==> requirements/build.txt" && $$compile --group pyproject.toml:build -o requirements/build.txt && \
	echo "==> requirements/dev.txt" && $$compile pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt

clean:  ## remove .venv and every cache in this folder
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
