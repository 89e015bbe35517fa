"""Cached latents of every layout that is read, mutated: refused, or left out by name, or the same numbers.

Layouts of other tools have no checksums: a changed number that is finite cannot be told from a right one there. In our
own it has to be noticed, if not when it is read then by `specmatch check`.
"""

import io
import json
import os
import shutil
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import torch
from campaign import Outcome
from damage import damages
from forked import Hang, alarm, call_verb
from fuzz_images import mutated
from safetensors.torch import save
from scenes import Scenes

SECONDS = 20
LAYOUTS = ("ours", "repa", "lightningdit", "mar")
HEADER = b"\x93NUMPY\x01\x00v\x00"


def prepare(scenes: Scenes) -> None:
    """Write a cache of every layout."""
    for layout in LAYOUTS:
        _original(scenes, layout)


def judge(scenes: Scenes, random: Random) -> Outcome:
    """Mutate a file of a cache, read all of it as analysis and training do, and judge."""
    layout = random.choice(LAYOUTS)
    original, expected = _original(scenes, layout)
    folder = scenes.root / "mutated latents"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    path = random.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    how = _mutate(path, random)
    said = f"{layout}, {path.name}, {how}"
    try:
        with alarm(SECONDS):
            found = _read(folder)
    except ValueError as error:
        is_clear = "\n" not in str(error) and folder.name in str(error)
        return Outcome("refused" if is_clear else "unclear message", not is_clear, f"{said}: {error}")
    except Hang:
        return Outcome("hang", True, said)
    if found == expected:
        return Outcome("the same numbers")
    if found[1]:
        return Outcome("left out, by name")
    if not np.isfinite(found[2]):
        return Outcome("no numbers", True, said)
    if layout != "ours":
        return Outcome("other numbers, in a layout without checksums")
    checked = call_verb(["check", str(folder)])
    noticed = checked.code in (1, 2) and path.name in checked.output
    return Outcome("noticed by check" if noticed else "other numbers", not noticed, f"{said}: {checked.last}")


@cache
def _original(scenes: Scenes, layout: str) -> tuple[Path, tuple[int, int, float]]:
    folder = scenes.few_latents if layout == "ours" else scenes.exported(layout)
    return folder, _read(folder)


def _read(folder: Path) -> tuple[int, int, float]:
    """Return how many latents were read, how many left out, and a sum of all."""
    from spectrum_matching.latents.latent_set import training_keys
    from spectrum_matching.latents.open_latents import latent_batches, open_latents

    latents = open_latents(folder)
    batches = list(latent_batches(latents, 4, range(len(latents))))
    n_bad = len(latents.info.bad) + sum(len(batch.bad) for batch in batches)
    trained = [latents.read_batch(keys) for keys in training_keys(latents, [[(0, 0), (1, 0)], [(2, 0), (0, 1)]], False)]
    total = float(latents.n_classes)
    for batch in (*batches, *trained):
        total += batch.mean.double().sum().item() + batch.labels.sum().item()
        total += 0.0 if batch.logvar is None else batch.logvar.double().sum().item()
    return sum(len(batch.mean) for batch in batches), n_bad, total


def _mutate(path: Path, random: Random) -> str:
    """Change a file; return how."""
    content, kind = path.read_bytes(), random.random()
    if kind < 0.05:
        path.unlink()
        return "deleted"
    if kind < 0.08:
        path.unlink()
        os.mkfifo(path)
        return "a named pipe"
    if kind < 0.3 and path.suffix == ".json":
        return _relabelled(path, random)
    if kind < 0.2:
        return _other_array(path, random)
    if kind < 0.5:
        name, damaged = random.choice(list(damages(content, path.suffix, random)))
        path.write_bytes(damaged)
        return name
    path.write_bytes(mutated(content, random))
    return "mutated"


def _relabelled(path: Path, random: Random) -> str:
    """Replace a number of a JSON file by one that no cache has."""
    value = random.choice((10**9, -5, 2**62, True, 1.5, "7", [1], None, float("nan")))
    document = json.loads(path.read_bytes())
    nodes = [document]
    for node in nodes:
        children = node.values() if isinstance(node, dict) else node
        nodes += [child for child in children if isinstance(child, dict | list)]
    leaves = [(node, key) for node in nodes for key in _keys(node) if isinstance(node[key], int | float)]
    if leaves:
        node, key = random.choice(leaves)
        node[key] = value
    path.write_text(json.dumps(document))
    return f"a number is {value!r}"


def _keys(node: object) -> list[object]:
    return list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []


def _other_array(path: Path, random: Random) -> str:
    """Write an array of another shape, type or value, as the file's format has it."""
    shape = random.choice(((8, 8, 8), (7, 8, 8), (8, 8), (0, 8, 8), (8, 0, 8), (16, 8, 8)))
    kind = random.choice(("f4", "f8", "i4", "f2", "c8", "u1"))
    array = np.random.default_rng(0).standard_normal(shape).astype(kind)
    if array.dtype.kind == "f" and array.size:
        array.flat[0] = random.choice((np.nan, np.inf, 1e30, 0.0))
    if path.suffix == ".safetensors":
        labels = torch.full((len(array),), random.choice((0, -5, 2**40)))
        path.write_bytes(save({"latents": torch.from_numpy(array), "labels": labels}))
    elif random.random() < 0.2 and path.suffix == ".npy":
        described = random.choice((f"({10**17}, 4, 4)", "__import__('os').getpid()"))
        path.write_bytes(
            HEADER + f"{{'descr': '<f4', 'fortran_order': False, 'shape': {described}, }}".ljust(117).encode()
        )
        return f"of shape {described}"
    else:
        stream = io.BytesIO()
        np.savez(stream, moments=array, moments_flip=array) if path.suffix == ".npz" else np.save(stream, array)
        path.write_bytes(stream.getvalue())
    return f"{kind} {shape}"
