# Two commands: `make demo` and `make test`. The virtual environment makes itself; PYTHON chooses its interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
CODE := vdt_hpc preprocess jobs results

.PHONY: demo test lint format clean help

help:
	@echo "make demo    the whole pipeline on made-up streets: frames to a page, in minutes"
	@echo "make test    every test"
	@echo "make lint    ruff and mypy"
	@echo "make format  put the code into ruff's format"
	@echo "make clean   remove the virtual environment and caches (never runs/)"

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or later is needed, this is " + sys.version.split()[0] + "; use make PYTHON=...") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --progress-bar off --quiet --upgrade pip
	@echo "installing torch and the rest: 6 GB, some minutes"
	$(BIN)/pip install --progress-bar off --quiet --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/python -m vdt_hpc.launch streets encode train sample evaluate report --run streets --partition local

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
