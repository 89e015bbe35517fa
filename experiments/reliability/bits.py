"""Single bits flipped in what we write: each has to be noticed when the file is opened, or by `specmatch check`."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from random import Random

from campaign import Outcome, Trial
from readers import Reader, readers
from scenes import Scenes

COUNT, COUNTS = 240, "flipped bits"
READERS = {
    "train-ae, resumed": ("run/checkpoints/0000004",),
    "train-diffusion, resumed": ("run/checkpoints/0000004",),
    "sample": ("model/export",),
    "cache": ("model/export",),
    "train-diffusion": ("latents",),
    "analyze latents": ("latents",),
    "sample npz, again": ("s/s.npz",),
    "sample grid, again": ("s/s.png",),
    "sample folder, again": ("s/s/0",),
    "evaluate generation": ("s/s.npz", "s/r.safetensors"),
    "compare, again": ("run",),
    "study frequency-bias, resumed": ("run",),
}
"""What is damaged, by the reader that opens it: checkpoints, exports, shards, samples, references, stages."""
UNCHECKED = (".lock", ".html", "log.jsonl")  # nothing of ours reads them


def trials(scenes: Scenes, seed: int) -> Iterator[Trial]:
    """Yield a bit of each reader in turn, without end."""
    random, chosen = Random(f"bits {seed}"), [each for each in readers(scenes) if each.name in READERS]
    for _ in count():
        for reader in chosen:
            files = [name for name in reader.files if name.startswith(READERS[reader.name])]
            file = random.choice([name for name in files if not name.endswith(UNCHECKED)])
            where, bit = random.random(), random.randrange(8)
            what = f"{file}, bit {bit} of the byte at {where:.6f} of it"
            yield Trial(reader.name, what, lambda r=reader, f=file, w=where, b=bit: flipped(r, f, w, b))


def flipped(reader: Reader, file: str, where: float, bit: int) -> Outcome:
    """Flip a bit, and ask the command that reads the file, then `specmatch check`."""
    content = bytearray((reader.copy / file).read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    opened = reader.read(file, bytes(content))
    if opened.name in ("refused by name", "other result, saying so"):
        return Outcome("noticed when opened")
    if opened.name == "same result":
        return Outcome("written anew")
    checked = reader.check(file, bytes(content))
    return replace(checked, detail=f"opened: {opened.name}: {opened.detail}\nchecked: {checked.detail}")
