# One command each on a clean clone: `make demo`, `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed

# Tiny tensors gain nothing from more threads, and another number of threads may round otherwise.
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test check-long lint docs browser postgres
.DEFAULT_GOAL := test

demo: $(INSTALLED) ## the whole loop on the embedded tiny world; writes demo/report/index.html
	$(BIN)/densedpo demo --out demo

test: $(INSTALLED) browser postgres ## the fast checks
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long'

check-long: $(INSTALLED) browser postgres ## everything, also what takes minutes
	@$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(INSTALLED) ## every command that the documentation shows is one that exists
	@$(BIN)/python -m pytest tests/docs

$(INSTALLED): pyproject.toml constraints-cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints-cpu.txt -e '.[train,dev]'
	touch $@

browser: # the report is checked in a real browser
	@if command -v chromium chromium-browser google-chrome >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; \
	else \
		echo "Chromium is missing, so the browser tests will be skipped. To have them run, install the package"; \
		echo "'chromium' (Debian: sudo apt-get install chromium) and run make again."; \
	fi

postgres: # the store is tested on a PostgreSQL server too, which the tests start themselves
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends postgresql; \
	else \
		echo "PostgreSQL is missing, so its tests will be skipped. To have them run, install the package"; \
		echo "'postgresql' (Debian: sudo apt-get install postgresql) and run make again."; \
	fi
