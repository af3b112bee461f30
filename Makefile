# Two commands: `make demo` and `make test`. The virtual environment makes itself; PYTHON chooses its interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
WORKERS ?= 2

.PHONY: demo test lint format clean help

help:
	@echo "make demo    the whole pipeline on made-up streets: frames to a page, in minutes"
	@echo "make test    every test, WORKERS=2 at a time"
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

# Tests on Slurm start daemons and watch clocks: they run alone.
test: $(INSTALLED)
	@failed=0; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --ignore tests/slurm || failed=1; \
	$(BIN)/python -m pytest tests/slurm || failed=1; \
	exit $$failed

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
