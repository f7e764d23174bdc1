# Two commands for a start: `make demo`, `make test`. Both create .venv the first time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo test test-oldest-pillow check format torture bench docs networks build clean
.DELETE_ON_ERROR:

install: $(READY)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/tlfeatures demo --cache cache

# A process a core, of one thread each; half of the files for each, who is done takes from the other.
# Where a test starts threads they sleep while they wait: the core has other tests to run.
test: $(READY)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal

# The pixel checks on the oldest Pillow that pyproject.toml allows, those of our own resizing on the
# oldest that it takes pictures from; `make test` has the newest.
OLDEST := $(shell sed -n 's/.*"pillow>=\([0-9.]*\)".*/\1/p' pyproject.toml)
LEAST := $(shell sed -n 's/^LEAST_PILLOW = (\([0-9]*\), \([0-9]*\)).*/\1.\2/p' tlfeatures/engine/kernels/_pillow.py)
test-oldest-pillow: $(READY)
	$(call with-pillow,$(OLDEST)) tests/pictures
	$(call with-pillow,$(LEAST)) tests/engine/test_engine_resize.py

define with-pillow
$(BIN)/python -m pip install --quiet --upgrade --no-deps --target build/pillow-$(1) 'pillow==$(1).*'
PYTHONPATH=$(CURDIR)/build/pillow-$(1) $(BIN)/python -c 'import PIL; assert PIL.__version__.startswith("$(1).")'
PYTHONPATH=$(CURDIR)/build/pillow-$(1) $(BIN)/python -m pytest
endef

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

torture: $(READY)
	$(BIN)/python -m pytest -m 'slow or not slow'

bench: $(READY)
	$(BIN)/python benchmarks/embedded.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/agreement.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/depths.py
	$(BIN)/python benchmarks/winograd.py
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/resizing.py
	$(BIN)/python benchmarks/pooling.py
	$(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/busy.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/extract.py --cached
	$(BIN)/python benchmarks/gpu.py

docs: $(READY)
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_figure.py

# What 'backbones list' says, from torchvision: two minutes, after torchvision has changed.
networks: $(READY)
	$(BIN)/python docs/make_networks.py

# The wheel alone, in a clean environment, from another folder: the demo must run.
build: $(READY)
	rm -rf dist build/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet dist/*.whl
	cd build/wheel && bin/tlfeatures demo --out demo

clean:
	rm -rf dist build demo-output .pytest_cache .mypy_cache .ruff_cache
