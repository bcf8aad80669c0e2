# The two commands a newcomer needs are `make demo` and `make test`; both do all the set-up.
PYTHON  ?= python3
UV_PIN  := uv==0.13.8
BIN     := .venv/bin
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
STAMP   := .venv/.installed
DEMO    := $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SPEED),--speed $(SPEED)) $(if $(SEED),--seed $(SEED))

.PHONY: setup demo docs test coverage check lint rules bench constraints clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile $(PLUGINS:%=%/pyproject.toml)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV_PIN)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[postgres]' $(PLUGINS:%=-e %) --group dev
	touch $@

demo: setup
	$(BIN)/meterplex demo $(DEMO)

test: setup
	$(BIN)/python -m pytest -n 2 $(ARGS)

# What the tests reach; one process, so slower.
coverage: setup
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage report --skip-covered --skip-empty

# A thousand programs killed while they handle money, on both databases; the same ones each time.
test-crash: setup
	METERPLEX_KILLS=500 $(BIN)/python -m pytest tests/crash -o faulthandler_timeout=0 $(ARGS)

# New random runs of the state machines, as many as asked for.
fuzz: setup
	METERPLEX_FUZZ_EXAMPLES=$(or $(EXAMPLES),1000) $(BIN)/python -m pytest tests/proving/test_orders_machine.py -o faulthandler_timeout=0 $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases tests plugins/*/tests migrations bench
	$(BIN)/lint-imports
	$(BIN)/deptry core
	@for plugin in $(PLUGINS); do (cd $$plugin && $(CURDIR)/$(BIN)/deptry . --extend-exclude tests) || exit 1; done

# The modules that decide about money and supply: every branch taken by their own pure tests.
RULES := accounts ledger money limiter friendly_hours warnings supply_gate supply_holds supply_policy supply_wish prepayment/* tariff/*
comma := ,
empty :=
rules: setup
	$(BIN)/coverage run --rcfile=/dev/null --data-file=.coverage.rules --branch --source=core/meterplex/domain -m pytest -q tests/domain
	$(BIN)/coverage report --rcfile=/dev/null --data-file=.coverage.rules --skip-covered --show-missing --fail-under=100 \
	  --include='$(subst $(empty) $(empty),$(comma),$(RULES:%=core/meterplex/domain/%.py))'

check: lint rules test

bench: setup
	$(BIN)/python -m bench $(ARGS)

docs: setup
	$(BIN)/python -m meterplex.cli.manual
	$(BIN)/python -m meterplex.cli.reference
	$(BIN)/python tests/docs/test_generated.py

# Exact versions, names only: no index address, no workspace member.
constraints:
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header \
	  --all-extras --group dev $(PLUGINS:plugins/%=--no-emit-package meterplex-%) --no-emit-package meterplex pyproject.toml -o constraints.txt

clean:
	rm -rf .venv
