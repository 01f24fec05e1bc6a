# Works from a bare checkout: Python 3.11 or newer with pip, make, git and a C++ compiler are all it expects.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint format types contracts locks bench lock clean

help:
	@echo "make demo     start a whole network on this machine     (ARGS=\"--nodes 5 --epochs 3\")"
	@echo "make test     run the tests                             (ARGS=\"tests/protocol -x\")"
	@echo "make check    lint, types, import contracts, locks"
	@echo "make bench    run the measurements that the docs quote  (ARGS=\"benchmarks/x.py\" for some)"
	@echo "make setup    only install, into .venv                  (PYTHON=python3.12 for another interpreter)"
	@echo "make lock     resolve requirements/ anew                (ARGS=--upgrade for newer versions)"
	@echo "make clean    remove everything that make installed or cached here"

setup: $(INSTALLED)

# The stamp names the checkout: scripts in .venv hold absolute paths, so a copied or moved one is installed again.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif

$(INSTALLED): $(wildcard requirements/*.txt) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Peerboard needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 | head -n 1)" >&2; \
	  echo "Install one and name it, for example: make setup PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) requirements/install.py

# The demo ends by Ctrl-C: make waits for it through the trap, and does not call that an error.
demo: $(INSTALLED)
	@trap : INT; $(BIN)/peerboard demo $(ARGS); status=$$?; [ $$status -eq 130 ] || exit $$status

test: $(INSTALLED)
	$(BIN)/pytest $(ARGS)

# One target each, so that 'make --keep-going check' reports everything.
check: lint format types contracts locks

lint: $(INSTALLED)
	$(BIN)/ruff check .

format: $(INSTALLED)
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

contracts: $(INSTALLED)
	$(BIN)/lint-imports --no-logo

locks: $(INSTALLED)
	$(BIN)/python requirements/verify.py

bench: $(INSTALLED)
	@failed=; for script in $(or $(ARGS),$(sort $(wildcard benchmarks/*.py))); do \
	  echo "== $$script"; $(BIN)/python "$$script" || failed="$$failed $$script"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

COMPILE = $(BIN)/uv pip compile --generate-hashes --universal --python-version 3.11 \
  --no-emit-index-url --no-header --no-annotate --quiet $(ARGS)

lock: $(INSTALLED)
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) --all-extras pyproject.toml -o requirements/all.txt
	$(BIN)/python requirements/verify.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist tests/interop/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
