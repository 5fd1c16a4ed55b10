# Everything runs in .venv; requirements.lock pins every version in it. The demo installs what users
# need, the tests also what developers need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock
STUDY ?= demo-study
JOBS ?= 2

.PHONY: demo test check docs bench model lock clean

demo: $(INSTALLED)
	$(BIN)/leadlight demo --study $(STUDY) --overwrite

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs
	@echo "The manual: build/docs/index.html"

bench: $(READY)
	$(BIN)/python benchmarks/run.py --data "$(DATA)"

# Train again what ships (needs a PTB-XL folder): make model PTBXL=path/to/ptbxl
model: $(READY)
	$(BIN)/python training/shipped_model.py --ptbxl "$(PTBXL)"

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Leadlight needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e ".[simulate]"
	touch $(INSTALLED)

$(READY): $(INSTALLED)
	$(PIP) --no-build-isolation -e ".[dev,docs,simulate,workflow]"
	touch $(READY)

# Write the lock anew from what pyproject.toml asks for.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet "torch==2.13.0" "setuptools>=77" ".[dev,docs,simulate,workflow]"
	{ sed -n '/^#/p' requirements.lock; .venv-lock/bin/python -m pip freeze --all --exclude leadlight \
	  --exclude pip | sed 's/+cpu$$//'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock && rm -rf .venv-lock

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info
