# The two commands of the README are `make demo` and `make test`; both set everything up by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BUF := npx --yes @bufbuild/buf@1.75.0
PROTOS := $(wildcard proto/signalfire/v1/*.proto)

.DEFAULT_GOAL := help
.PHONY: fuzz help demo test test-tampering check fmt proto proto-check lock clean foreign-tools bench-tools soak mesh bench bench-backlog bench-long bench-flame

help:
	@echo "make demo    three nations share a real launch, on this machine, in about a minute"
	@echo "make test    all tests"
	@echo "make test-tampering   every case of what is changed in a store's file; some minutes"
	@echo "make soak    gateways through faults for MINUTES (10), from SEED (1) on; a table at the end"
	@echo "make mesh    eight nations in a full mesh; two crash and one link flaps for MESH_S (60) seconds"
	@echo "make bench-backlog   an alert's latency beside a million tracks that wait for a partner; a quarter of an hour"
	@echo "make bench   ten minutes: beside a plain relay, NATS and RabbitMQ; what each operation costs; what grows with what"
	@echo "make bench-long   growth to ten million entries, then memory on such a store under load, for MINUTES=60; 40 GB of disk"
	@echo "make bench-flame   flame graphs of the origin and of the recipient under a flood"
	@echo "make fuzz    search every parser for half a minute each; FUZZ_S= and TARGETS= say otherwise"
	@echo "make check   linters, types, and whether generated code is current"
	@echo "make fmt     format the code"
	@echo "make proto   generate code from proto/"
	@echo "make lock    renew requirements.lock from pyproject.toml"
	@echo "make foreign-tools   install the tools of others that check us, where Debian's packages can be had"
	@echo "make bench-tools     install what benchmarks use: brokers to be set beside us, their clients, py-spy, matplotlib"

demo: $(STAMP)
	$(BIN)/signalfire demo

test: $(STAMP)
	$(BIN)/python -m pytest

# `make test` flips one bit of each column and kind of row; this flips more of each, and more pages of the file.
test-tampering: $(STAMP)
	$(BIN)/python -m pytest tests/audit/test_tampering.py --every-case

MINUTES ?= 10
MESH_S ?= 60
SEED ?= 1

soak: $(STAMP)
	PYTHONPATH=.:proto $(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --seed $(SEED)

# The figures in docs/performance.md; the results are kept.
bench-backlog: $(STAMP)
	mkdir -p bench/results
	PYTHONPATH=.:proto $(BIN)/python bench/backlog.py --json bench/results/backlog.json

# Everything side by side, in turns; a broker that is not installed is left out. Then this system alone, in one process.
ROUNDS ?= 3
BENCH := PYTHONPATH=.:proto $(BIN)/python
RESULTS := bench/results
KEEP = --json $(RESULTS)/$(1).json --chart $(RESULTS)/$(1).svg

bench: $(STAMP)
	mkdir -p $(RESULTS)
	$(BENCH) bench/compare.py --rounds $(ROUNDS) --reports 10000 --rate 2000 $(call KEEP,compare)
	$(BENCH) bench/operations.py $(call KEEP,operations)
	$(BENCH) bench/growth.py $(call KEEP,growth)

# A store of ten million entries, and what its partners fetch of it; BENCH_DIR= says on which disk. ENTRIES= makes it less.
ENTRIES ?= 10000000
BENCH_DIR ?=
bench-long: MINUTES = 60
bench-long: $(STAMP)
	mkdir -p $(RESULTS)
	TMPDIR=$(BENCH_DIR) $(BENCH) bench/serving.py --entries $(ENTRIES) --minutes $(MINUTES) $(call KEEP,serving)

bench-flame: $(STAMP)
	mkdir -p $(RESULTS)
	$(BENCH) bench/flame.py

mesh: $(STAMP)
	PYTHONPATH=.:proto $(BIN)/python -m tests.faults.mesh --seconds $(MESH_S) --seed $(SEED)

# By libFuzzer, through Atheris, which has wheels for some Pythons only: a dependency group and environment of its own.
# What is found stays in tests/fuzz/findings, and `make test` reads it from then on.
FUZZ := $(VENV)/fuzz
FUZZ_S ?= 30

fuzz: $(STAMP)
	test -x $(FUZZ)/bin/python || $(BIN)/python -m venv $(FUZZ)
	$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check --group fuzz
	PYTHONPATH=.:proto:$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])') \
		$(FUZZ)/bin/python -m tests.fuzz.hunt --seconds $(FUZZ_S) --merge $(TARGETS)

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

# Go and its module with which exported ledgers are checked, and what makes network namespaces with firewalls. Where they
# cannot be had the tests that need them skip, and say so.
FOREIGN := golang-go golang-golang-x-mod-dev nftables iproute2
foreign-tools:
	@if command -v go >/dev/null && command -v nft >/dev/null && command -v ip >/dev/null && test -d /usr/share/gocode/src/golang.org/x/mod/sumdb; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "apt-get is not here: tests that need $(FOREIGN) are skipped"; exit 0; fi; \
	if test "$$(id -u)" = 0; then as=""; elif sudo -n true 2>/dev/null; then as="sudo -n"; \
	else echo "not root, and no sudo without a password: tests that need $(FOREIGN) are skipped"; exit 0; fi; \
	{ timeout 60 $$as apt-get update -qq; timeout 240 $$as env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $(FOREIGN) >/dev/null; } \
	|| echo "$(FOREIGN) could not be installed: the tests that need them are skipped"

# NATS and RabbitMQ, which bench/compare.py sets beside us, their Python clients, and what draws: none of it is in the
# lock. None of the brokers stays running: the benchmark starts its own.
bench-tools: $(STAMP)
	sh bench/brokers/tools.sh $(VENV)/bench
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
