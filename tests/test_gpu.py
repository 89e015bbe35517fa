import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_gpu_script_measures_every_row_at_toy_size(tmp_path):
    command = [ROOT / "experiments" / "gpu.sh", tmp_path, "--toy"]
    environment = {
        "PYTHON": sys.executable,
        "PATH": "/usr/bin:/bin",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert not found["failed"]
    rows = found["rows"]
    assert {
        "a step of ESM",
        "train tiny, LPIPS and discriminator, eager",
        "encode, tiny",
        "cache, tiny",
        "analyze, tiny",
    } <= {*rows}
    assert all(value == 0 for name, row in rows.items() if name.startswith("samples") for value in row.values())
    assert rows["sample SiT-micro/2"]["sampled_per_second"] > 0
