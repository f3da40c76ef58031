# Two commands: `make lab` for students, `make test` for authors. Everything happens in .venv, but
# for `make newest` and `make oldest`, which make an environment of their own beside it.
# The Python that makes .venv, 3.11 or later: make lab PYTHON=python3.12
PYTHON ?= python3
# Processes that the tests run in.
JOBS ?= 2
VENV := .venv
BIN = $(VENV)/bin
# Nothing is compiled ahead: of what is installed most is never imported, and what is imported is
# compiled then, and kept, which this variable would forbid.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
unexport PYTHONDONTWRITEBYTECODE
READY := $(VENV)/ready
ISSUE_FORMS := $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))

.DEFAULT_GOAL := help
.PHONY: help lab test test-all test-unsandboxed static mutants newest oldest grade build verify
.PHONY: lock image clean site

help:  ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*  ## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-16s %s\n", $$1, $$2 }'

lab: $(READY)  ## Open JupyterLab on your copy of the lessons (work/)
	@$(BIN)/jax-course lab $(ARGS)

test: static  ## Run every test, as CI does
	$(BIN)/jax-course verify --short
	$(BIN)/jax-course mutate --sample 8
	$(BIN)/pytest -n $(JOBS) --dist loadfile

test-all: static  ## Run the long form of every test
	$(BIN)/jax-course verify --long
	$(BIN)/jax-course mutate
	$(BIN)/pytest -n $(JOBS) --dist loadfile -m "long or not long"

newest:  ## Verify and test with the newest versions, in .venv-newest (PYTHON=python3.13)
oldest:  ## Verify and test with the oldest versions allowed, in .venv-oldest (PYTHON=python3.11)

newest oldest: VENV = .venv-$@
newest: RESOLUTION = highest
oldest: RESOLUTION = lowest-direct
# Both are run, whatever the first one finds: it takes long to come here.
newest oldest:
	$(ENVIRONMENT)
	@$(PIP) uv
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --upgrade \
		--resolution $(RESOLUTION) --requirement pyproject.toml --all-extras
	@$(PIP) --no-deps --editable .
	@$(BIN)/python -m uv pip list --python $(BIN)/python
	@failed=0; $(BIN)/jax-course verify || failed=1; \
		$(BIN)/pytest -n $(JOBS) --dist loadfile || failed=1; exit $$failed

test-unsandboxed: static  ## Run the tests that need no sandbox: all that macOS can run
	$(BIN)/jax-course verify --short
	$(BIN)/pytest -n $(JOBS) --dist loadfile -m "not long and not sandbox"

static: $(READY)  ## Check style, types, layers, dependencies, workflows and generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $(ISSUE_FORMS)
	$(BIN)/jax-course build --check

mutants: $(READY)  ## Put errors into graders/ and see whether tests notice (COUNT=, SEED=)
	$(BIN)/python -m graders.tests.mutants --count $(or $(COUNT),60) $(if $(SEED),--seed $(SEED)) --jobs $(JOBS)

grade: $(READY)  ## Make a sample class, grade it, compare with its known marks
	$(BIN)/jax-course sample-class
	$(BIN)/jax-course grade --expect

build: $(READY)  ## Build course/ from solutions/
	$(BIN)/jax-course build

site: $(READY)  ## Make the website of the course in build/site/
	$(BIN)/jax-course site

verify: $(READY)  ## Prove every lesson: its solution, its wrong and its right answers
	$(BIN)/jax-course verify

# Each Python gets the newest version that it can run, where one version could serve them all.
lock: $(READY)  ## Write requirements.lock anew (newer versions: make lock UPGRADE=--upgrade)
	$(BIN)/uv pip compile --quiet --universal --fork-strategy requires-python --python-version 3.11 \
		--all-extras --custom-compile-command "make lock" $(UPGRADE) \
		pyproject.toml --output-file requirements.lock
	@$(PIP) --requirement requirements.lock
	@touch $(READY)

image:  ## Build the Docker image without Docker and go through it (BASE=, CA=, PORT=: see .ci/image.py)
	@$(PYTHON) .ci/image.py

clean:  ## Remove .venv and what was built (work/ with your answers stays)
	rm -rf $(VENV) .venv-newest .venv-oldest build .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The folder VENV holds an environment, in which nothing is installed yet if it was not there.
define ENVIRONMENT
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed. Name one: make lab PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "This Python cannot make environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing what the course uses into $(VENV). The first time that takes some minutes."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
endef

# The stamp is written last: an installation that was cut short is taken up again.
$(READY): requirements.lock pyproject.toml
	$(ENVIRONMENT)
	@$(PIP) --requirement requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@
