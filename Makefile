# The two commands of the README are `make demo` and `make test`; both set everything up by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BUF := npx --yes @bufbuild/buf@1.75.0
PROTOS := $(wildcard proto/signalfire/v1/*.proto)

.DEFAULT_GOAL := help
.PHONY: help demo test test-tampering check fmt proto proto-check lock clean foreign-tools

help:
	@echo "make demo    three nations share a real launch, on this machine, in about a minute"
	@echo "make test    all tests"
	@echo "make test-tampering   every case of what is changed in a store's file; some minutes"
	@echo "make check   linters, types, and whether generated code is current"
	@echo "make fmt     format the code"
	@echo "make proto   generate code from proto/"
	@echo "make lock    renew requirements.lock from pyproject.toml"
	@echo "make foreign-tools   install the tools of others that check us, where Debian's packages can be had"

demo: $(STAMP)
	$(BIN)/signalfire demo

test: $(STAMP)
	$(BIN)/python -m pytest

# `make test` flips one bit of each column and kind of row; this flips more of each, and more pages of the file.
test-tampering: $(STAMP)
	$(BIN)/python -m pytest tests/audit/test_tampering.py --every-case

check: $(STAMP) proto-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The lock decides what is installed; with the stamp newer than the lock nothing is fetched, so both commands above work
# without a network once this has run.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Signalfire needs Python 3.11 or later; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV): $(STAMP)

GENERATE = $(BIN)/python -m grpc_tools.protoc -I proto \
	--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	--python_out=$(1) --mypy_out=quiet:$(1) --grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) \
	$(PROTOS) && rm -f $(1)/signalfire/v1/report_pb2_grpc.py* $(1)/signalfire/v1/ledger_pb2_grpc.py*

proto: $(STAMP)
	$(call GENERATE,proto)

# Generates afresh beside the committed code and compares; lints the contract where npx can be had.
proto-check: $(STAMP)
	rm -rf $(VENV)/generated && mkdir -p $(VENV)/generated
	$(call GENERATE,$(VENV)/generated)
	for f in $(VENV)/generated/signalfire/v1/*; do cmp $$f proto/signalfire/v1/$$(basename $$f) || \
		{ echo "generated code is not current: run 'make proto' and commit"; exit 1; }; done
	if command -v npx >/dev/null; then $(BUF) lint proto; else echo "npx is not here: the contract was not linted"; fi

lock: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --group dev --output-file requirements.lock pyproject.toml

# Go, and its module with which exported ledgers are checked. Where it cannot be had the tests that need it skip, and say so.
foreign-tools:
	@if command -v go >/dev/null && test -d /usr/share/gocode/src/golang.org/x/mod/sumdb; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "apt-get is not here: the checks by Go are skipped"; exit 0; fi; \
	if test "$$(id -u)" = 0; then as=""; elif sudo -n true 2>/dev/null; then as="sudo -n"; \
	else echo "not root, and no sudo without a password: the checks by Go are skipped"; exit 0; fi; \
	{ timeout 60 $$as apt-get update -qq; timeout 240 $$as env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends golang-go golang-golang-x-mod-dev >/dev/null; } \
	|| echo "golang-go and golang-golang-x-mod-dev could not be installed: the checks by Go are skipped"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
