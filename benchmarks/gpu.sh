#!/usr/bin/env bash
# The training step on this machine's GPU: one line for each variant as it finishes, results as JSON lines. With `--mesh` whole
# runs on meshes of its GPUs: curves, tokens per second, MFU, memory of each device, kill -9 and resume.
#
#   benchmarks/gpu.sh [--budget SECONDS] [--wheels DIR] [--results FILE] [--only WORD]... [-o KEY=VALUE]... [--rehearse]
#   benchmarks/gpu.sh --mesh [--devices N] [--only MODEL]... [--steps N] [--results FOLDER] [-o KEY=VALUE]... [--rehearse]
#   benchmarks/gpu.sh --pack DIR [--python-version 3.12]
#
# Uses what is there: $PYTHON, .venv, or a Python on the PATH that has JAX with CUDA. If there is none, `make` installs it into
# .venv. `--pack` collects the code and the other packages in a folder for a machine without network; run gpu.sh in that folder
# there. `--rehearse` runs tiny shapes on the CPU.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1

module=benchmarks.gpu_step packages="jax_cuda13_plugin jax_cuda12_plugin" what="JAX with CUDA"
if [ "${1:-}" = --pack ]; then
  shift
  module=benchmarks.gpu_pack packages=pip what=pip
elif [ "${1:-}" = --mesh ]; then
  shift
  module=benchmarks.gpu_mesh
fi
for argument in "$@"; do
  if [ "$argument" = --rehearse ]; then packages=jax what=JAX; fi
done

has_packages() {
  # shellcheck disable=SC2086  # one word for each package
  "$1" -c 'import sys, importlib.util as u
sys.exit(sys.version_info < (3, 11) or not any(map(u.find_spec, sys.argv[1:])))' $packages >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
  candidates=("$PYTHON")
else
  candidates=("$root/.venv/bin/python" python3 python python3.14 python3.13 python3.12 python3.11)
fi
for python in "${candidates[@]}"; do
  if has_packages "$python"; then exec "$python" -m "$module" "$@"; fi
done

if [ -z "${PYTHON:-}" ] && [ "$module" != benchmarks.gpu_pack ] && [ -f "$root/Makefile" ]; then
  echo "no Python here has $what; make installs it into .venv" >&2
  make --no-print-directory -C "$root" .venv/.run >&2 || true
  if has_packages "$root/.venv/bin/python"; then exec "$root/.venv/bin/python" -m "$module" "$@"; fi
fi
echo "error: none of ${candidates[*]} is Python 3.11 or newer with $what; name one with PYTHON=/path/to/python" >&2
exit 4
