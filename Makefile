# The main targets are `make run`, `make tour`, `make test` and `make docs`. `make screenshots` needs Chromium.
PORT ?= 8000
HOST ?= 127.0.0.1
FACES ?= 48
DEMO_ANNOTATORS ?= 3
TOUR_SIZE ?= small
TOUR_FOLDER ?= var/tour
PYIQA ?= yes
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export FACES DEMO_ANNOTATORS
BIND := $(HOST):$(PORT)
export PYTHONUNBUFFERED = 1

.PHONY: run tour install test lint style types audit docs screenshots
.DEFAULT_GOAL := run

run: $(BIN)/.installed
	@python manage.py serve --check --bind $(BIND)
	@python manage.py migrate --verbosity 0
	@python manage.py demo --address http://$(if $(filter 127.0.0.1 0.0.0.0,$(HOST)),localhost,$(HOST)):$(PORT)/ $(if $(NEW_PASSWORDS),--new-passwords)
	@python manage.py serve --bind $(BIND)

tour: $(BIN)/.installed
	@python manage.py tour $(TOUR_FOLDER) --size $(TOUR_SIZE)

install: $(BIN)/.installed

test: $(BIN)/.installed-dev
	pytest -n 2

lint: style types

types: $(BIN)/.installed-dev
	mypy annotate rewardlab refl

style: $(BIN)/.installed-dev
	ruff check .
	ruff format --check .
	lint-imports
	python manage.py makemigrations --check --dry-run
	DEPLOYMENT=production SECRET_KEY=$$(python -c 'import secrets; print(secrets.token_urlsafe(50))') ALLOWED_HOSTS=example.org BEHIND_TLS_PROXY=on python manage.py check --deploy --fail-level WARNING

docs: $(BIN)/.installed-docs
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

screenshots: $(BIN)/.installed-dev
	python -m tests.pictures

audit: $(BIN)/.installed-dev
	python -m tests.support.advisories

$(BIN)/.installed: requirements.txt requirements-demo.txt requirements-pyiqa.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-demo.txt
	$(if $(filter no,$(PYIQA)),,$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-pyiqa.txt)
	@$(if $(filter no,$(PYIQA)),,echo "pyiqa (MUSIQ, MANIQA, CLIP-IQA, FID) is for non-commercial use only: PolyForm-Noncommercial-1.0.0. make install PYIQA=no leaves it out.")
	@touch $@

$(BIN)/.installed-docs: $(BIN)/.installed requirements-docs.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@

$(BIN)/.installed-dev: $(BIN)/.installed-docs requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
