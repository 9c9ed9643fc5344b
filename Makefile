# Two commands: `make train` sets up and runs the main job, `make test` sets up and tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Pages are tested in chromium where it is, or where it can be had; else those tests
# are skipped, and say so.
BROWSER := @command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || \
	! command -v apt-get >/dev/null || { timeout 600 sh -c 'apt-get update && \
	apt-get install --yes --no-install-recommends chromium' >/dev/null 2>&1; } || true

.PHONY: train test lint types fast benchmark constraints clean

train: $(READY)
	$(BIN)/purejaxppo train CartPole-v1 --num-seeds 64 --total-timesteps 500_000 \
		--output runs/cartpole --overwrite

test: lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

fast: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/pyright

benchmark: $(READY)
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.reliability
	$(BIN)/python -m benchmarks.sweep --steps 20_000
	$(BIN)/python -m benchmarks.footprint

# The constraints' versions are those that this machine's tests ran with.
constraints: $(READY)
	$(BIN)/python -m pip freeze --exclude-editable --exclude pip > constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable . --group dev
	$(BROWSER)
	touch $(READY)

clean:
	rm -rf $(VENV) .venv-peers .hypothesis .pytest_cache .ruff_cache build dist
