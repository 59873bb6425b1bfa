# Every target sets up what it needs; `make demo` on a fresh machine is enough.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# More workers than cores: much of what tests do is waiting for servers. Each file stays with one worker.
WORKERS := -n 4 --dist loadfile --no-loadscope-reorder

# Tests start hundreds of daemons: without bytecode on disk each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup servers demo test lint bench torture docs clean

$(READY): pyproject.toml scripts/setup
	scripts/setup $(PYTHON) $(VENV)
	touch $(READY)

setup: $(READY)

# What tests of TLS, LDAP and Kerberos run against; where it cannot be installed they are skipped.
servers:
	scripts/servers

demo: setup
	$(BIN)/python -m confd.cli.demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint servers
	$(BIN)/pytest $(WORKERS)

torture: setup servers
	TORTURE=1 $(BIN)/pytest $(WORKERS) --timeout=3600

bench: setup
	$(BIN)/python -m bench

docs: setup
	$(BIN)/python -m confd.cli.reference docs/jobs

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .import_linter_cache
