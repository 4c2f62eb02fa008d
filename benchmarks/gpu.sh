#!/usr/bin/env bash
# The training step of both presets on this machine's GPU: one table each. Installs what it needs into .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
make --no-print-directory .venv/.run
exec .venv/bin/python -m benchmarks.step --shape gpu100m --shape gpu200m "$@"
