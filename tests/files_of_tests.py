"""Files for tests: images in several forms, and programs as modules."""

import importlib.util
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def png(grey, size=(8, 8)):
    """A plain grey picture."""
    file = io.BytesIO()
    Image.new("L", size, grey).save(file, "PNG")
    return file.getvalue()


def tar_of(members):
    """A tar of members by name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            tar.addfile(facts, io.BytesIO(content))
    return file.getvalue()


def write_labelled(path: Path, labels) -> None:
    """Write a tar or a table of plain pictures, the same ones for any labels."""
    pictures = [png(10 * i, (32, 32)) for i in range(len(labels))]
    if path.suffix == ".tar":
        members = {f"{i}.png": picture for i, picture in enumerate(pictures)}
        path.write_bytes(tar_of(members | {f"{i}.cls": label.encode() for i, label in enumerate(labels)}))
        return
    import pyarrow
    from pyarrow import parquet

    images = [{"bytes": picture, "path": None} for picture in pictures]
    parquet.write_table(pyarrow.table({"image": images, "label": list(labels)}), path)


def write_pictures(folder: Path, n: int, size: int = 48, seed: int = 0) -> Path:
    """Write PNG files of smooth random colour into a new folder, and return it."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for i in range(n):
        coarse = Image.fromarray(generator.integers(0, 256, (size // 4, size // 4, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{i:03d}.png")
    return folder


def greys(source):
    """The first pixel of each image of a source."""
    return [source.read(item).getpixel((0, 0))[0] for item in range(len(source.names))]


def loaded(path: Path):
    """The module of a program that is not on the path of imports."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
