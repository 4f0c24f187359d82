# What one does here every day, by name. Each target uses the environment in .venv, as the README makes it.
.PHONY: install format lint types test test-engines docs

install:
	python3 -m venv .venv
	.venv/bin/pip install -q -c requirements.lock -e '.[dev]'

format:
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

lint:
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports

types:
	.venv/bin/mypy -p docflow

test:
	.venv/bin/pytest

# Real SGLang and vLLM servers on the CPU: 4 GB of downloads the first time, 6 GB of memory. ARGS="-k chaos" goes to pytest.
test-engines:
	.venv/bin/python -m tests.engines.kit run $(ARGS)

docs:
	.venv/bin/python docs/make_cli.py
