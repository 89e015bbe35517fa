"""Two processes of torchrun that are stopped: by the script for SLURM of docs/cluster.md, and as terminals do."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = {
    "srun": """trap 'kill -KILL "$task"' TERM; "$@" & task=$!; echo "$task" > task; wait "$task" """,
    "scancel": '[ "$*" = "--signal=TERM 17" ] && kill -TERM "$(cat task)"',
    "scontrol": 'if [ "$1" = show ]; then echo localhost; else echo "$@" >> requeued; fi',
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
}
"""What stands for SLURM's programs on one machine, of which srun kills its task at SIGTERM, and this torchrun."""
OURS = (
    "train-ae tiny_dsm --data.size 32 --batch-size 2 --intervals.log 1 --intervals.preview 0 --intervals.checkpoint 999"
)


def script(steps):
    """The script of the page, with a small training of so many steps in the place of its own."""
    (text,) = re.findall(r"```bash\n(#!.*?)```", (ROOT / "docs" / "cluster.md").read_text(), flags=re.DOTALL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text, n = re.subn(r"train-ae \S+ --data\.path \S+", f"{OURS} --steps {steps}", text.replace("29500", str(port)))
    assert n == 1
    return text


def start(folder, steps):
    (folder / "job.sh").write_text(script(steps))
    variables = {"SLURM_JOB_ID": "17", "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "here", "SLURM_GPUS_ON_NODE": "2"}
    variables |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    with (folder / "out").open("w") as out:
        return subprocess.Popen(["bash", "job.sh"], cwd=folder, env=os.environ | variables, stdout=out, stderr=out)


def steps_done(folder):
    log = folder / "runs" / "dsm" / "log.jsonl"
    return [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.slow
def test_script_for_slurm_stops_at_sigterm_and_goes_on_where_it_was(tmp_path):
    (tmp_path / "bin").mkdir()
    for name, text in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/bash\n{text}\n")
        program.chmod(0o755)
    job = start(tmp_path, 100_000)
    while len(steps_done(tmp_path)) < 2:
        assert job.poll() is None, (tmp_path / "out").read_text()
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    assert job.wait() != 0
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"
    (checkpoint,) = (tmp_path / "runs" / "dsm" / "checkpoints").iterdir()
    stopped = int(checkpoint.name)
    assert stopped >= 2

    job = start(tmp_path, stopped + 1)
    assert job.wait() == 0, (tmp_path / "out").read_text()
    assert f"resuming from step {stopped}" in (tmp_path / "out").read_text()
    assert steps_done(tmp_path) == list(range(1, stopped + 2))
    assert (tmp_path / "runs" / "dsm" / "export" / "config.json").exists()
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_torchrun_and_its_processes_leaves_a_checkpoint(tmp_path, number):
    launcher = "torch.distributed.run --standalone --nproc_per_node 2 --signals-to-handle SIGINT,SIGTERM,SIGUSR1"
    words = [sys.executable, "-m", *launcher.split(), "-m", "spectrum_matching", *OURS.split()]
    words += ["--steps", "100000", "--out", "runs/dsm"]
    with (tmp_path / "out").open("w") as out:
        options = {"stdout": out, "stderr": out, "start_new_session": True}
        job = subprocess.Popen(words, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options)
    while len(steps_done(tmp_path)) < 2:
        assert job.poll() is None, (tmp_path / "out").read_text()
        time.sleep(0.1)
    os.killpg(job.pid, number)  # as a terminal or a batch system does; torchrun passes it on once more
    assert job.wait() != 0
    (checkpoint,) = (tmp_path / "runs" / "dsm" / "checkpoints").iterdir()
    assert int(checkpoint.name) == steps_done(tmp_path)[-1], (tmp_path / "out").read_text()
    assert (tmp_path / "out").read_text().count(f"stopped at step {int(checkpoint.name)}") == 1
