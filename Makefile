# Every target works first: the stamp stands for a complete virtual environment.
PY   ?= python3
VENV ?= .venv
BIN  := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: help demo test lint bench lock clean

help:
	@echo "make demo    train on generated songs, mix a real one, into out/demo"
	@echo "make test    quick test suite"
	@echo "make lint    ruff and mypy"
	@echo "make bench   all benchmarks, then benchmarks/RESULTS.md"
	@echo "make lock    constraints.txt anew (make lock ARGS=--upgrade: newest versions allowed)"
	@echo "make clean   remove caches and build output (the virtual environment stays)"

$(STAMP): pyproject.toml constraints.txt scripts/bootstrap.py
	$(PY) scripts/bootstrap.py $(VENV)
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m diffmix demo -o out/demo

# where no bytecode is kept, each worker would rewrite every test and compile every module anew
test: $(STAMP)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/uv pip install -q -p $(BIN)/python -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.export_parity
	$(BIN)/python -m benchmarks.gradients
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.console
	$(BIN)/python -m benchmarks.render
	$(BIN)/python -m benchmarks.automix
	$(BIN)/python -m benchmarks.transfer
	$(BIN)/python -m benchmarks.style_transfer
	$(BIN)/python -m benchmarks.recipes
	$(BIN)/python -m benchmarks.demo

lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-config -q -o constraints.txt $(ARGS)

clean:
	rm -rf build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
