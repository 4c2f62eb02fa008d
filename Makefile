# `make run` trains the quickstart, `make test` checks the project; each installs what it needs into .venv.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The extra with the CUDA wheels that the driver and the GPUs support; the reason is printed. Asked once, and only by what
# installs. `make CUDA=cuda12 run` chooses, `make CUDA= run` installs the CPU wheels.
CUDA = $(eval CUDA := $(shell $(BIN)/python chomp/device/wheels.py))$(CUDA)
comma := ,
empty :=
space := $(empty) $(empty)
extras = [$(subst $(space),$(comma),$(strip $(1) $(CUDA)))]
# One more than the two cores: a worker that waits for a screen or an engine leaves its core to another.
WORKERS ?= 3
# Tests that mount a small disk to fill it up are left out for everybody else, and that is said.
NOT_ROOT := $(shell test "$$(id -u)" = 0 || echo ' and not root')

# uv installs in a tenth of pip's time and shows how far its downloads are. It asks the index that pip is set up for; where it
# cannot be had, or cannot install, pip does the same.
define install
	@pip="$(BIN)/python -m pip --disable-pip-version-check"; \
	index=$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($$pip config get global.index-url 2>/dev/null || true)}}; \
	echo "installing '.$(1)' into $(VENV)"; \
	{ $$pip install --quiet 'uv>=0.9,<1' && \
		env $${index:+UV_DEFAULT_INDEX=$$index} $(BIN)/python -m uv pip install --python $(BIN)/python --editable '.$(1)'; \
	} || { echo "uv could not; now with pip"; $$pip install --quiet --editable '.$(1)'; }
endef

.PHONY: help run train eval sample test verify browser-check gpu-check compile-for-gpus check optimized fast soak lint types imports docs docs-check pictures data bench bench-step clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "chomp needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml $(VENV)/bin/python
	$(call install,$(if $(CUDA),$(call extras,)))
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/bin/python
	$(call install,$(call extras,dev))
	@touch $@ $(VENV)/.run

run: $(VENV)/.run ## Install, then train configs/quickstart.yaml: in the console, or without a terminal in plain lines.
	@if [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && [ "$${TERM:-dumb}" != dumb ]; then \
		exec $(BIN)/chomp-tui launch configs/quickstart.yaml --start; \
	else \
		exec $(BIN)/chomp train configs/quickstart.yaml; \
	fi

train: $(VENV)/.run ## Install, then train: make train CONFIG=configs/quickstart.yaml ARGS="-o train.steps=100".
	@test -n "$(CONFIG)" || { echo "name a configuration: make train CONFIG=configs/quickstart.yaml" >&2; exit 2; }
	$(BIN)/chomp train "$(CONFIG)" $(ARGS)

# The newest run, with CONFIG the newest of that configuration.
CHECKPOINT ?= $(patsubst %/,%,$(firstword $(shell ls -td runs/$(basename $(notdir $(CONFIG)))*/ 2>/dev/null)))
has_run = @test -n "$(CHECKPOINT)" || { echo "there is no run; name one: make $@ CHECKPOINT=runs/NAME" >&2; exit 2; }

eval: $(VENV)/.run ## Score the newest run, or: make eval CHECKPOINT=runs/NAME DATA=val.bin.
	$(has_run)
	$(BIN)/chomp eval "$(CHECKPOINT)" $(if $(DATA),-o data.backend=tokens -o data.tokens_eval_path="$(DATA)") $(ARGS)

sample: $(VENV)/.run ## Generate text with the newest run, or: make sample CHECKPOINT=runs/NAME PROMPT="def ".
	$(has_run)
	$(BIN)/chomp generate "$(CHECKPOINT)" --prompt "$(PROMPT)" $(ARGS)

# Tests start a few hundred processes, and uv installs no bytecode: where the environment forbids to write it, each of these
# would compile every module that it imports (of an engine 2 of 3.3 CPU seconds).
test fast soak verify browser-check compile-for-gpus: export PYTHONDONTWRITEBYTECODE :=

# The checks run beside the tests; their output follows pytest's. Either failing fails the target.
test: $(VENV)/.dev ## Install, then run the tests (without those marked soak) and every other check beside them.
	@$(if $(NOT_ROOT),echo "not root: the tests marked root (full and read-only disks) are left out")
	@said=$$(mktemp); trap 'rm -f "$$said"' EXIT; \
	$(MAKE) --no-print-directory --keep-going lint types imports docs-check >"$$said" 2>&1 & checks=$$!; \
	tests=0; $(BIN)/python -m pytest -m "not soak$(NOT_ROOT)" -n $(WORKERS) --dist worksteal || tests=$$?; \
	others=0; wait $$checks || others=$$?; \
	cat "$$said"; \
	if [ $$others != 0 ]; then echo "failed: lint, types, imports or docs-check, as shown above" >&2; fi; \
	if [ $$tests != 0 ]; then echo "failed: pytest, as shown above the other checks" >&2; fi; \
	exit $$(( tests || others ))

$(VENV)/.verify: pyproject.toml $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(call extras,dev verify)'
	@touch $@

verify: $(VENV)/.verify ## Install PyTorch and llama.cpp, then have them read exported models; Python 3.11.
	$(BIN)/python -m pytest tests/verify/check_*.py

$(VENV)/.aot: pyproject.toml $(VENV)/bin/python
	$(call install,$(call extras,dev gpu-aot))
	@touch $@

compile-for-gpus: $(VENV)/.aot
	$(BIN)/python -m pytest tests/aot/check_*.py

# In an environment of its own: with the CUDA wheels in it, JAX looks for a driver.
gpu-check: ## Install the CUDA compiler (4 GB) into .venv-aot, then compile the step for GPUs; no GPU is needed.
	@$(MAKE) --no-print-directory VENV=.venv-aot compile-for-gpus || \
		{ echo "failed: the step's structure on GPUs is not checked, or is not as it should be; see above" >&2; exit 1; }

browser-check: $(VENV)/.dev ## Open reports in Chromium or Chrome, which must be installed, as wide as a phone and as a desktop.
	$(BIN)/python -m pytest tests/browser/check_*.py

check: test ## The same as test.

optimized: ## The same, with every program compiled as users' runs compile theirs, which takes much longer.
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(MAKE) --no-print-directory test

fast: $(VENV)/.dev ## Only the tests that compile nothing, draw no screen and start no engine: under two minutes.
	$(BIN)/python -m pytest -m "pure and not soak" -n $(WORKERS) --dist worksteal

soak: $(VENV)/.dev ## The tests left out of test, among them fifty kills at random instants; property tests with new inputs.
	$(BIN)/python -m pytest -m "hypothesis and not soak" --hypothesis-profile explore -n $(WORKERS) --dist worksteal
	$(BIN)/python -m pytest -m soak -n $(WORKERS) --dist worksteal -rP

lint: $(VENV)/.dev ## Style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## Types of both packages and of the benchmarks.
	$(BIN)/mypy

imports: $(VENV)/.dev ## Who may import whom.
	$(BIN)/lint-imports

docs: $(VENV)/.dev ## Write the generated pages anew.
	$(BIN)/python -m chomp.config.reference
	$(BIN)/python -m chomp_tui.reference

docs-check: $(VENV)/.dev ## Fail if a generated page is not current.
	$(BIN)/python -m chomp.config.reference --check
	$(BIN)/python -m chomp_tui.reference --check

pictures: $(VENV)/.dev ## Draw the pictures of the pages anew; RUN=runs/NAME spares the training. Needs rsvg-convert and Chromium.
	$(BIN)/python docs/screenshots.py $(if $(RUN),--run "$(RUN)")

data: $(VENV)/.run ## Write Python's own library as token files below data/, with a tokenizer trained on it.
	$(BIN)/chomp prepare-data --stdlib --vocab-size 4096 --output data/stdlib

bench: $(VENV)/.run ## Print speed and memory figures of this machine.
	$(BIN)/python -m benchmarks

bench-step: $(VENV)/.run ## Print only the figures of the training step, at two shapes.
	$(BIN)/python -m benchmarks.step

clean: ## Remove the virtual environment and caches; runs stay.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
