# make run    install, then take the tour: a small GAN trained before your eyes, written as a page under _out/
# make run DATA=folder    the same on your own pictures
# make test   every check that needs no GPU
# make lab    open JupyterLab on the book
PYTHON ?= python3
BIN := .venv/bin
DATA ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help run lab test notebooks kernels tests export clean readme install wheel

help:
	@sed -n 's/^# //p' Makefile

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "animegan_nb needs Python 3.10 or newer: make run PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "Python's venv is missing: install it (Debian, Ubuntu: apt install python3-venv)."; exit 1; }
	@touch $@

# what reading and running the book needs
.venv/notebook: .venv/created pyproject.toml
	@echo "Installing PyTorch and the notebook tools into .venv (about two minutes, 5 GB) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[notebook]'
	@touch $@

# what changing and testing it needs
.venv/dev: .venv/created pyproject.toml
	@echo "Installing the development tools into .venv ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,course]'
	@touch $@ .venv/notebook

install: .venv/dev

run: .venv/notebook
	@$(BIN)/animegan tour --out _out $(if $(DATA),--data '$(DATA)')
	@echo "To read, change and run the chapters yourself:  make lab"

lab: .venv/notebook
	$(BIN)/jupyter lab nbs/index.ipynb

# two workers of one thread each: on two cores five times faster than two of two
test: export OMP_NUM_THREADS := 1
test: export MKL_NUM_THREADS := 1
test: export ANIMEGAN_BUDGET := fast
test: export MPLBACKEND := Agg
test: .venv/dev
	$(BIN)/ruff check animegan_nb tests benchmarks
	$(BIN)/pytest tests/test_drift.py tests/test_notebooks.py
	$(BIN)/nbdev_test --n_workers $(WORKERS) --timing
	$(BIN)/pytest -n $(WORKERS) --dist loadfile tests --ignore tests/browser --ignore tests/test_drift.py --ignore tests/test_notebooks.py
	$(BIN)/pytest -n $(WORKERS) --nbmake --nbmake-timeout=300 nbs
	$(BIN)/pytest tests/browser

# the library from the notebooks; README.md from nbs/index.ipynb
export: .venv/dev
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export

readme: .venv/dev
	$(BIN)/python .ci/readme.py

wheel: .venv/dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf _out dist build .pytest_cache .ruff_cache .hypothesis
