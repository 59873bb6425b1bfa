# Every target sets up what it needs; `make demo` on a fresh machine is enough.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

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
	$(BIN)/pytest -n 2 --dist loadfile

torture: setup servers
	TORTURE=1 $(BIN)/pytest -n 2 --dist loadfile --timeout=3600

bench: setup
	$(BIN)/python -m bench

docs: setup
	$(BIN)/python -m confd.cli.reference docs/jobs

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .import_linter_cache
