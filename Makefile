# make demo   everything from nothing: environment, install, an edit learned and applied, samples
# make test   the tests, the same way; make test-all adds those marked slow
# make test-targets  compiles for TPUs that are not here; CUDA=1 for NVIDIA's GPUs too (5 GB)
# make check  lint, types
# make docs   the documentation, into out/site/index.html; a warning is an error

PYTHON ?= python3
VENV ?= .venv
TARGETS_VENV ?= .venv-targets
BIN = $(VENV)/bin
OUT ?= out/demo
PARALLEL = -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all test-targets check docs clean

demo: $(VENV)/.demo
	$(BIN)/clipdiff data --split test --count 8 --only hair_color=black --out $(OUT)/faces
	$(BIN)/clipdiff edit $(OUT)/faces --edit demo/glasses --strength 0.5 1 --out $(OUT)/ready --overwrite
	@echo "A ready edit: look at $(OUT)/ready/grid.png"
	$(BIN)/clipdiff generate --model demo --count 64 --steps 50 --out $(OUT)/samples --overwrite
	$(BIN)/clipdiff train --config avatars/edit_red_hair --workdir $(OUT)/red-hair
	$(BIN)/clipdiff edit $(OUT)/faces --edit $(OUT)/red-hair --strength 0.6 0.8 1 --out $(OUT)/edited --overwrite
	@echo "Look at $(OUT)/ready/grid.png, $(OUT)/samples/grid.png and $(OUT)/edited/grid.png"

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PARALLEL)

test-all: test
	$(BIN)/python -m pytest $(PARALLEL) -m slow

# The compilers have an environment of their own, so that jax finds no plugin anywhere else.
test-targets:
	$(MAKE) $(TARGETS_VENV)/.targets$(if $(CUDA),-cuda) VENV=$(TARGETS_VENV)
	JAX_PLATFORMS=cpu $(TARGETS_VENV)/bin/python -m pytest -m target tests/training/targets

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy clipdiff_jax train.py sample.py evaluate.py

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[demo]'
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[test]'
	touch $@

$(VENV)/.targets: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[test,tpu]'
	touch $@

$(VENV)/.targets-cuda: $(VENV)/.targets
	$(BIN)/python -m pip install --quiet -e '.[test,tpu,cuda12]'
	touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(TARGETS_VENV) out build *.egg-info
