# make run      install, then take the tour: a small GAN trained before your eyes, written as a page under _out/
# make run DATA=folder        the same on your own images
# make lab      open JupyterLab on the book
# make test     every check that needs no GPU
# make gpu      on a machine with a GPU: speed, memory, equality; at most 8 minutes; into data/results/gpu.json
# make gpu GPU='--parts preset,drawing'          some parts of it
# make export   the library from the notebooks
# make execute  run the notebooks whose outputs are older than their code, and store the new outputs
# make execute NB='20_losses exercises/losses'    run these (WORKERS=2 at a time)
# make format   one layout for all code: 96 columns in notebooks, 120 elsewhere
# make readme   README.md from nbs/index.ipynb
# make run-it   the cells at the top of every chapter that make it run on Colab
# make course   the releases of all assignments and their zips for students: _out/course/release
# make book     the book as a site, from the stored outputs: _book/html (make book ONLY='20_losses' builds one chapter)
PYTHON ?= python3
BIN := .venv/bin
DATA ?=
NB ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
ONLY ?=
.PHONY: format help run lab test gpu export execute readme run-it book course clean install wheel

help:
	@sed -n 's/^# //p' Makefile

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "animegan_nb needs Python 3.10 or newer: make run PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "Python's venv is missing: install it (Debian, Ubuntu: apt install python3-venv)."; exit 1; }
	@touch $@

#: pages that Jupyter makes of notebooks keep the descriptions of the images
.venv/etc/jupyter/jupyter_config.json: book/jupyter_config.json | .venv/created
	@mkdir -p $(@D) && cp $< $@

#: what reading and running the book needs
.venv/notebook: .venv/created pyproject.toml | .venv/etc/jupyter/jupyter_config.json
	@echo "Installing PyTorch and the notebook tools into .venv (about two minutes, 5 GB) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[notebook]'
	@touch $@

#: what building the site needs: the modules are imported, so PyTorch is one of them
.venv/book: .venv/notebook pyproject.toml
	@echo "Installing Sphinx into .venv ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[book]'
	@touch $@

#: what changing and testing it needs
.venv/dev: .venv/created pyproject.toml | .venv/etc/jupyter/jupyter_config.json
	@echo "Installing the development tools into .venv ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,course]'
	@touch $@ .venv/notebook .venv/book

install: .venv/dev

#: the folder goes through the environment, so that the shell reads none of its letters
run: export TOUR_DATA = $(value DATA)
run: .venv/notebook
	@$(BIN)/animegan tour --out _out $${TOUR_DATA:+--data "$$TOUR_DATA"}
	@echo "To read, change and run the chapters yourself:  make lab"

lab: .venv/notebook
	$(BIN)/jupyter lab nbs/index.ipynb

#: the tests that only read files; they run first, because they are quick
HOUSE := tests/test_house.py tests/test_notebooks.py tests/test_drift.py

#: two workers of one thread each: on two cores five times faster than two of two
#: time limits end a hang: 15 minutes a test or a cell, an hour a notebook
test: export OMP_NUM_THREADS := 1
test: export MKL_NUM_THREADS := 1
test: export ANIMEGAN_BUDGET := fast
test: export MPLBACKEND := Agg
test: .venv/dev
	$(BIN)/ruff check animegan_nb tests benchmarks .ci book nbs
	$(BIN)/ruff format --check nbs tests benchmarks .ci book
	$(BIN)/pytest $(HOUSE)
	$(BIN)/nbdev_test --n_workers $(WORKERS) --timing
	$(BIN)/pytest -n $(WORKERS) --dist loadfile tests --ignore tests/browser $(HOUSE:%=--ignore %)
	$(BIN)/pytest -n $(WORKERS) --nbmake --nbmake-timeout=900 --timeout=3600 nbs
	$(BIN)/pytest tests/browser

gpu: .venv/dev
	$(BIN)/python benchmarks/gpu.py $(GPU)

export: .venv/dev
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export

#: the library is exported first, so that notebooks import what the notebooks say
execute: export
	$(BIN)/python .ci/execute.py --workers $(WORKERS) $(NB)

#: the one layout of the code: 96 columns in notebooks, 120 in tests and benchmarks
format: .venv/dev
	$(BIN)/ruff format nbs tests benchmarks .ci book

readme: .venv/dev
	$(BIN)/python .ci/readme.py

run-it: .venv/dev
	$(BIN)/python .ci/run_it.py

#: no notebook runs; in a copy without a network, MathJax and the theme's fonts are in the packages
book: .venv/book
	$(BIN)/python book/make_book.py $(if $(ONLY),--only $(ONLY))

#: in a copy, so that nothing is made beside the sources; grades that are there stay
course: .venv/dev
	@mkdir -p _out/course
	@rm -rf _out/course/source
	@cp -R nbs/course/source _out/course/source
	$(BIN)/animegan course build --course _out/course

wheel: .venv/dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf _out _book dist build .pytest_cache .ruff_cache .hypothesis
