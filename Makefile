# Each target sets up what it needs: a Python 3.11 or 3.12 is all that must be there, and for the tests either a
# Docker engine or what `make services-deps` installs. The second time nothing is set up again.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# More arguments for pytest, for example: make test ARGS="-k kafka -x"
ARGS ?=
export PYTHON

.PHONY: help demo test units bench lint format lock docs picture services-deps browser browser-deps clean

help:
	@echo "make demo           a simulated city from readings to line losses and a report, nothing else needed"
	@echo "make test           all tests, on a real Kafka, schema registry and InfluxDB"
	@echo "make units          the tests that need no services"
	@echo "make bench          the speed, beside a bare loop over the same messages"
	@echo "make lint           ruff and mypy"
	@echo "make format         format the sources"
	@echo "make lock           resolve the packages anew into requirements.lock"
	@echo "make docs           the page of the supervision's rules, from their docstrings"
	@echo "make picture        the README's picture of the demo's report"
	@echo "make services-deps  on Debian: install what the services need where there is no Docker"
	@echo "make browser-deps   on Debian: install Chromium, which the tests look at the report with"
	@echo "make clean          remove what was made, and stop the services of this folder"

$(READY): requirements.lock pyproject.toml ops/find-python.sh ops/make-venv.sh
	@python=$$(ops/find-python.sh) && ops/make-venv.sh $(VENV) "$$python"
	@touch $@

demo: $(READY)
	@$(BIN)/gridflow demo --output .gridflow/demo $(ARGS)

# The services are fetched or built first: it takes minutes the first time, and pytest would hide what goes on.
test: $(READY) browser
	@$(BIN)/gridflow services fetch
	$(BIN)/python -m pytest $(ARGS)

units: $(READY) browser
	$(BIN)/python -m pytest --units $(ARGS)

bench: $(READY)
	@$(BIN)/gridflow services fetch --only kafka
	@$(BIN)/python -m ops.bench $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --upgrade --quiet -o requirements.lock

docs: $(READY)
	@$(BIN)/gridflow explain rules > flows/ied_supervision/RULES.md

picture: $(READY) browser
	@$(BIN)/python -m ops.demo.picture

# Where it may be installed without asking, it is; elsewhere the tests that need it fail and say how.
browser:
	@if command -v chromium chromium-browser >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then $(MAKE) --no-print-directory browser-deps; \
	else echo "there is no Chromium: make browser-deps installs it" >&2; fi

browser-deps:
	@if command -v chromium chromium-browser >/dev/null; then echo "nothing is missing"; exit 0; fi; \
	if ! command -v apt-get >/dev/null 2>&1; then \
		echo "error: here is no apt-get; install what Debian calls: chromium" >&2; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
	$$sudo apt-get update -q && $$sudo apt-get install -q -y --no-install-recommends chromium

services-deps:
	@packages=; for pair in java:default-jre-headless mvn:maven go:golang-go cargo:cargo cc:build-essential \
		pkg-config:pkg-config; do \
		command -v $${pair%%:*} >/dev/null 2>&1 || packages="$$packages $${pair#*:}"; done; \
	if [ -z "$$packages" ]; then echo "nothing is missing"; exit 0; fi; \
	if ! command -v apt-get >/dev/null 2>&1; then \
		echo "error: here is no apt-get; install what Debian calls:$$packages" >&2; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
	$$sudo apt-get update -q && $$sudo apt-get install -q -y --no-install-recommends $$packages

clean:
	@if [ -x $(BIN)/gridflow ] && [ -d .gridflow/services ]; then $(BIN)/gridflow services down --purge; fi
	rm -rf .gridflow $(VENV) $(VENV)-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
