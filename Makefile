.PHONY: check lint test image bench chaos mutants proof

check: lint
	.venv/bin/pytest -q -n 2 -m "not slow" $(wildcard tests/unit tests/property tests/architecture)

lint:
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy --strict tradefan tests $(wildcard benchmarks) && .venv/bin/lint-imports --no-logo
	.venv/bin/shellcheck -x -a scripts/deploy.sh scripts/image.sh scripts/tradefan .ci/run

test:
	./scripts/deploy.sh -a test

# Builds the container's image and runs it once; without an engine that answers root's dockerd is started for the while.
image:
	./scripts/image.sh

bench:
	set -e; for program in $(filter-out benchmarks/execution.py,$(wildcard benchmarks/[a-z]*.py)); do .venv/bin/python "$$program"; done

# Real processes under faults, in the whole form: an hour, and the machine for itself. Some need root and strace.
chaos:
	TRADEFAN_CHAOS=whole TRADEFAN_CHAOS_CYCLES=$${TRADEFAN_CHAOS_CYCLES:-200} .venv/bin/pytest -q -o faulthandler_timeout=5400 -m chaos tests/chaos tests/property/test_journal_damage.py tests/integration/test_influx.py tests/integration/test_replay.py

# All that RELIABILITY.md says in figures: 5,000 seeds, mutants, kills and starts of real processes; hours. What is
# stored for this commit is not run again, so it may be interrupted; PART=seeds, mutants, kills, recovery or render.
proof:
	.venv/bin/python -m tests.proof $(or $(PART),all) $(ARGS)

# Deliberate faults, each in a copy of the package: the simulator has to kill 95 % of them. Half an hour.
mutants:
	.venv/bin/python -m tests.mutants.run --jobs 2 --out results/mutants.json
