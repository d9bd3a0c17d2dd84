# Every target works on a fresh clone with Python 3.11, make and pip; set-up happens on the first one.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export CISTERNA_HOME ?= $(CURDIR)/.cisterna
export CISTERNA_TRITON_HOME ?= $(CURDIR)/.triton

.PHONY: setup demo test test-cluster test-long check proto proto-bless images bench clean help

help:
	@echo "make demo          both workflows end to end on this machine, with reports"
	@echo "make test          all tests under 15 minutes (real Triton; Ceph, browser and data where present)"
	@echo "make test-cluster  containers, Kubernetes, Prometheus (needs root; says what it skips)"
	@echo "make test-long     soaks, big volumes, many kills: by hand"
	@echo "make check         format, lint, types, imports, protos"
	@echo "make proto | proto-bless | images | bench | clean"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml deploy/triton/install.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python deploy/triton/install.py $(CISTERNA_TRITON_HOME)
	touch $@

demo: setup
	$(BIN)/cisterna demo

test: setup
	$(BIN)/python -m pytest -m "not long and not cluster" -n 2 --dist loadfile --no-loadscope-reorder \
	  tests/faults tests/system tests $(PYTEST)

test-cluster: setup
	$(BIN)/python -m pytest -m "cluster and not long" tests/cluster $(PYTEST)

test-long: setup
	$(BIN)/python -m pytest -m long --timeout 14400 $(PYTEST)

check: setup
	$(BIN)/ruff format --check services tests deploy k8s
	$(BIN)/ruff check services tests deploy k8s
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

proto: setup
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=services --pyi_out=services --grpc_python_out=services protos/cisterna/v1/*.proto

proto-bless: setup
	$(BIN)/python -m grpc_tools.protoc -I protos --descriptor_set_out=protos/golden.binpb protos/cisterna/v1/*.proto

images:
	for target in denoise segment ernet eres graph driver; do \
	  podman build --format docker --target $$target --tag cisterna-$$target -f deploy/Dockerfile . || exit 1; done

bench: setup
	for script in tests/bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	-$(BIN)/cisterna down
	rm -rf $(VENV) .triton .cisterna
