# Two commands matter: `make tour` and `make test`. Each sets up all that it needs, once, in .venv.
# Variables: PYTHON (an interpreter >= 3.11), TORCH_INDEX (a package index to take torch from),
# JOBS (test processes).
SHELL := /bin/sh
BIN := .venv/bin
# Test files are shared out among this many processes, of one thread each.
JOBS ?= auto
INPUTS := pyproject.toml constraints.txt tools/setup.sh
export PYTHON TORCH_INDEX

.PHONY: help tour test lint format bench compare docs data clean

help:
	@echo "make tour   a page of pictures from the shipped models (under two minutes once set up)"
	@echo "make test   format, lint and type checks, then every test"
	@echo "make lint   the checks alone        make format  apply the formatter"
	@echo "make data   fetch the data sets     make bench   speed beside diffusers"
	@echo "make compare  samplers side by side (hours; goes on where it stopped)"
	@echo "make docs   renew the tables in the documentation from the measured results"
	@echo "make clean  remove everything made here, the environment included"

# One stamp for each set of extras; made again when the list of packages changes.
.venv/.ready-tour: $(INPUTS)
	@tools/setup.sh data,text $@

.venv/.ready-test: $(INPUTS)
	@tools/setup.sh data,train,private,test $@
	@touch .venv/.ready-tour

.venv/.ready-bench: $(INPUTS)
	@tools/setup.sh data,train,private,test,bench $@
	@touch .venv/.ready-tour .venv/.ready-test

# The section on text to image listens with minilm; without it the page says so and is shorter.
tour: .venv/.ready-tour
	@$(BIN)/sfumato data fetch minilm >/dev/null || \
		echo "warning: minilm could not be fetched; the page has no text to image" >&2
	@$(BIN)/sfumato tour

# Data is wanted, not required: tests that need what is not there say so and are skipped.
DATA := fashion-mnist digits mobilenet photographs emoji neuraloperator minilm
data: .venv/.ready-tour
	@for name in $(DATA); do $(BIN)/sfumato data fetch $$name || \
		echo "warning: $$name could not be fetched; tests that need it will be skipped" >&2; done

test: .venv/.ready-test data lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: .venv/.ready-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.ready-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.ready-bench
	$(BIN)/python benchmarks/throughput.py

# Rows that are measured are not measured again.
compare: .venv/.ready-bench data
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python tools/figures.py

docs: .venv/.ready-test
	$(BIN)/python tools/figures.py

clean:
	rm -rf .venv build dist runs tour .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
