"""How much slower is a training step with threads that spin while they wait, alone and beside another training?

    python bench/how_much_does_waiting_cost.py [--json FILE] [--rounds N]

The command sets OMP_WAIT_POLICY=PASSIVE unless the variable is set; here the same training of the tiny preset at
32 × 32 runs with it and without it, in turns, each in a process of its own. Run it on an idle machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from machine import describe  # the file beside this one

STEPS, WARMUP = 8, 2


def worker() -> None:
    """Print the median seconds of a step."""
    from dataclasses import replace

    from accelerate import Accelerator

    from how_fast_is_training import measure
    from spectrum_matching.training.autoencoder_config import Data, tiny

    run = replace(tiny("esm_dsm"), batch_size=16, data=Data(size=32))
    print(run.batch_size / measure(run, Accelerator(mixed_precision="no"), WARMUP, STEPS)["images_per_second"])


def seconds(passive: bool, n_processes: int) -> float:
    """Median seconds of a step in the first of `n_processes` equal trainings that run side by side."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if passive:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    command = [sys.executable, __file__, "--worker"]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(n_processes)
    ]
    outputs = [process.communicate()[0] for process in processes]
    return float(outputs[0])


def main() -> None:
    """Measure all four cases in turns and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker()
        return
    cases = [(passive, n) for n in (1, 2) for passive in (False, True)]
    measured: dict[tuple[bool, int], list[float]] = {case: [] for case in cases}
    started = time.time()
    for _ in range(arguments.rounds):
        for case in cases:
            measured[case].append(seconds(*case))
    rows = [
        {
            "wait_policy": "passive" if passive else "unset",
            "trainings_at_once": n,
            "seconds_per_step": statistics.median(values),
            "all": values,
        }
        for (passive, n), values in measured.items()
    ]
    base = rows[1]["seconds_per_step"]  # alone, passive
    for row in rows:
        row["ratio_to_passive_alone"] = row["seconds_per_step"] / base
        print(f"{row['wait_policy']:>8}, {row['trainings_at_once']} at once: {row['ratio_to_passive_alone']:.2f} ×")
    result = {"machine": describe(), "rows": rows, "minutes": (time.time() - started) / 60}
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
