#!/usr/bin/env bash
# Everything to measure on one GPU in at most eight minutes: bench/what_does_a_gpu_do.py.
#
#     experiments/gpu.sh OUT        rows go to OUT/gpu.json as they end
#     experiments/gpu.sh OUT --toy  the same at tiny sizes, on any machine, to rehearse
set -euo pipefail
out=$(realpath -m "${1:?a folder for gpu.json}")
shift
mkdir -p "$out"
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$(command -v "$python")" ] || python=python3
if ! why=$("$python" -c 'import diffusers, pydantic, spectrum_matching.records.provenance, torchmetrics' 2>&1); then
    echo "$python lacks what is needed (${why##*$'\n'}): install the package there, or name another by PYTHON" >&2
    exit 1
fi
exec "$python" bench/what_does_a_gpu_do.py --json "$out/gpu.json" --minutes 7.5 "$@"  # and half a minute to import
