# Works in a fresh clone with Python >= 3.11 and make. Paths are relative, so that the folder's name may hold spaces;
# for the same reason tools run as `python -m …`, never through a script's #! line.

PYTHON ?= python3
PY := .venv/bin/python
DAG ?= example_workbench_upload
PYTEST_ARGS ?=
WORKERS ?= 2
FAULT_RUNS ?= 500
# a whole Airflow has the machine to itself
SHORT := not long and not celery and not secrets and not standalone

# else every process compiles Airflow anew: three seconds at each start
unexport PYTHONDONTWRITEBYTECODE

.PHONY: test test-all test-faults test-scripted test-interop test-celery test-secrets test-hostile test-2.11 test-3.1 lint format coverage demo constraints clean bench

test: .venv/.ready                       ## the tests, on Airflow 3.3.2
	$(PY) -m pytest -n $(WORKERS) --cov --cov-report= -m '$(SHORT)' $(PYTEST_ARGS)
	$(PY) -m pytest -m standalone --cov --cov-append --cov-report= $(PYTEST_ARGS) tests/standalone

test-all: test test-3.1 test-2.11        ## also on the other supported Airflows

test-3.1 test-2.11: test-%: .venv-%/.ready
	.venv-$*/bin/python -m pytest -n $(WORKERS) -m '$(SHORT)' $(PYTEST_ARGS)
	.venv-$*/bin/python -m pytest -m standalone $(PYTEST_ARGS) tests/standalone

test-faults: .venv/.ready                ## every scripted fault, and FAULT_RUNS random schedules of them
	FAULT_RUNS=$(FAULT_RUNS) $(PY) -m pytest -n $(WORKERS) tests/faults -m '' $(PYTEST_ARGS)

test-scripted: .venv/.ready              ## the scripted faults that `make test` leaves out
	$(PY) -m pytest -n $(WORKERS) tests/faults -m long $(PYTEST_ARGS)

test-celery: .venv/.ready                ## an Airflow of several machines; as root on Debian it installs PostgreSQL and Redis
	$(PY) -m pytest tests/celery -m celery $(PYTEST_ARGS)

test-secrets: .venv/.ready               ## the audit: a whole Airflow in which much goes wrong, searched for secrets
	$(PY) -m pytest tests/secrets -m secrets $(PYTEST_ARGS)

test-hostile: .venv/.ready               ## what hostile servers, names and paths get; says how much memory that took
	$(PY) -m pytest -s tests/security -m '' $(PYTEST_ARGS)

test-interop: .venv/.ready               ## against TUS servers that we did not write; needs node >= 20.19 and npm
	npm install --prefix tests/interop --no-package-lock --no-audit --no-fund
	INTEROP_REQUIRED=1 $(PY) -m pytest tests/interop -m '' $(PYTEST_ARGS)

lint: .venv/.ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: .venv/.ready
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

coverage: test                           ## lines and branches of the client
	$(PY) -m coverage report --include='airflow_provider_workbench/client/*' --fail-under=95

# make demo KEEP=1 leaves it running until Ctrl-C; make demo DAG=… runs another example
demo: .venv/.ready
	@$(PY) scripts/demo.py $(if $(KEEP),--keep) $(DAG)

# what a user would take instead is installed for them; what cannot be is left out, and the tables say so
BENCHMARKS := transfer memory small_files resume parse_cost growth waiting
bench: $(BENCHMARKS:%=bench-%)           ## all benchmarks, in under 15 minutes on two idle cores; or one: make bench-transfer

bench-%: .venv/.ready
	$(PY) benchmarks/$*.py

bench-transfer bench-resume: benchmarks/node_modules/.ready
bench-parse_cost: .venv-peers/.ready

benchmarks/node_modules/.ready:
	@mkdir -p benchmarks/node_modules
	npm install --prefix benchmarks --no-package-lock --no-save --no-audit --no-fund tus-js-client@4.3.1 && touch $@ || true

.venv-peers/.ready: benchmarks/peers.txt .venv/.ready
	@mkdir -p .venv-peers
	$(PY) -m uv pip install --quiet --python $(PY) --target .venv-peers --no-deps -r benchmarks/peers.txt && touch $@ || true

# --- environments: one per Airflow, made anew when what goes into them changes

.venv/.ready: constraints.txt
.venv-3.1/.ready: constraints-3.1.txt
.venv-2.11/.ready: constraints-2.11.txt

%/.ready: pyproject.toml
	@echo "Making the environment $* (a minute or so) …"
	@$(PYTHON) -m venv $*
	@$*/bin/python -m pip install --quiet --disable-pip-version-check -c $(filter constraints%,$^) uv
	@$*/bin/python -m uv pip install --quiet --python $*/bin/python \
		-c $(filter constraints%,$^) --build-constraints $(filter constraints%,$^) -e '.[sandbox,dev]'
	@touch $@

# Pin anew what the tests run with; with UPGRADE= only what has no pin yet.
UPGRADE ?= --upgrade
COMPILE = printf 'uv\nhatchling\neditables\napache-airflow==%s\n' $(1) | $(PY) -m uv pip compile --quiet $(UPGRADE) \
	--universal --python-version 3.11 --extra sandbox --extra dev pyproject.toml - \
	--no-header --no-annotate --no-emit-index-url --output-file $(2)

constraints: .venv/.ready
	$(call COMPILE,3.3.2,constraints.txt)
	$(call COMPILE,3.1.8,constraints-3.1.txt)
	$(call COMPILE,2.11.2,constraints-2.11.txt)

clean:
	rm -rf .venv .venv-3.1 .venv-2.11 .venv-peers benchmarks/node_modules build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
