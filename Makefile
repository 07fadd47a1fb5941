.PHONY: check lint test bench

check: lint
	.venv/bin/pytest -q -n 2 -m "not slow" $(wildcard tests/unit tests/property tests/architecture)

lint:
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy --strict tradefan tests $(wildcard benchmarks) && .venv/bin/lint-imports --no-logo

test:
	./scripts/deploy.sh -a test

bench:
	set -e; for program in benchmarks/[a-z]*.py; do .venv/bin/python "$$program"; done
