"""The command `specmatch check`: read everything below folders, and compare it with its checksums."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from ..data.pictures import check_png
from ..evaluation.reference import is_reference, load_reference
from ..files.checkpoints import STATE
from ..files.documents import Document, read_json
from ..files.json_lines import require_good_lines
from ..files.manifest import MANIFEST, Compared, verify_own_folder
from ..files.names import printable
from ..files.products import Kind, Product, find_products
from ..files.stages import RECORD, verify_stage
from ..files.yaml_files import read_mapping
from ..latents.shards import INDEX, is_cache, verify_cache
from ..nets.folders import CONFIG
from ..records.analysis import ANALYSES
from ..records.comparison import COMPARISON
from ..records.latent_maps import LATENT_COMPARISON
from ..records.scores import EVALUATIONS
from ..sampling.sample_record import is_samples, verify_samples
from ..studies.directional_energy.record import DIRECTIONAL_ENERGY
from ..studies.frequency_bias.record import CASE, FREQUENCY_BIAS
from ..studies.unified_view.record import UNIFIED_VIEW
from ..training import data_fingerprint
from .output import print_json, print_results

STUDIES: tuple[Document[Any], ...] = (DIRECTIONAL_ENERGY, UNIFIED_VIEW, FREQUENCY_BIAS)


def check(folders: Annotated[Sequence[Path], arg(metavar="FOLDER ...")], /) -> None:
    """Read everything below folders that specmatch wrote, and compare it with its checksums.

    Exits with status 1 if anything is damaged or incomplete, with 2 if a folder holds nothing of specmatch.

    For example:
        specmatch check runs latents samples.npz

    Args:
        folders: Run directories, caches, samples, references, analyses, comparisons, or what holds them.
    """
    if not folders:
        raise ValueError("nothing was given to check: name folders or files that specmatch wrote")
    products: list[Product] = []
    for folder in folders:
        found = list(find_products(folder, KINDS))
        if not found:
            raise ValueError(f"{folder} holds nothing that specmatch wrote: name a run directory, a cache or samples")
        products += found
        print_results(*map(_line, found))
    damaged = sum(bool(product.problem) for product in products)
    n_files, n_bytes = (sum(counts) for counts in zip(*(product.compared for product in products), strict=True))
    verdict = f"{damaged} of them damaged or incomplete" if damaged else "all as they were written"
    print_json([_plain(product) for product in products])
    print_results(f"{len(products)} products, {n_files} files, {_size(n_bytes)} read: {verdict}")
    if damaged:
        raise SystemExit(1)


def _line(product: Product) -> str:
    if product.problem:
        return f"DAMAGED {product.kind} {product.path}: {product.problem}"
    n_files = product.compared.n_files
    return f"{product.kind} {product.path}: {n_files} file{'s' * (n_files != 1)}, {_size(product.compared.n_bytes)}"


def _plain(product: Product) -> dict[str, Any]:
    compared = {"n_files": product.compared.n_files, "n_bytes": product.compared.n_bytes}
    named = {"path": printable(str(product.path)), "problem": printable(product.problem)}
    return {"kind": product.kind, **named, **compared}


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes:,} bytes"


def _read_run(folder: Path) -> Compared:
    read: dict[Path, Callable[[Path], object]] = {
        folder / "run.yaml": read_mapping,
        folder / data_fingerprint.FILE: data_fingerprint.DOCUMENT.read,
        folder / "metrics.json": partial(read_json, remedy="rerun the same command, which writes it again"),
        folder / "log.jsonl": partial(require_good_lines, step=int),
        folder / "bad_files.jsonl": partial(require_good_lines, name=str),
        **dict.fromkeys(sorted((folder / "samples").glob("*.png")), check_png),
    }
    return _read_all({path: function for path, function in read.items() if path.exists()})


def _read_all(functions: dict[Path, Callable[[Path], object]]) -> Compared:
    for path, function in functions.items():
        function(path)
    return Compared(len(functions), sum(path.stat().st_size for path in functions))


def _verify_cache(folder: Path) -> Compared:
    shards = verify_cache(folder)
    return Compared(shards.n_files + 1, shards.n_bytes + (folder / INDEX).stat().st_size)


def _verify_samples(out: Path) -> Compared:
    verified = verify_samples(out)
    assert verified is not None  # the record was recognised
    return verified[1]


def _verify_stage(folder: Path) -> Compared:
    names = [RECORD, *verify_stage(folder).documents]
    return Compared(len(names), sum((folder / name).stat().st_size for name in names))


def _read_document(document: Document[Any], path: Path) -> Compared:
    return _read_all({path: document.read})


def _read_study(path: Path) -> Compared:
    content = read_json(path, "run the study again")
    written = content.get("format") if isinstance(content, dict) else None
    document = next((document for document in STUDIES if document.format == written), None)
    if document is None:
        raise ValueError(f"{path} has format {json.dumps(written)}, expected that of a study; run the study again")
    return _read_document(document, path)


def _is_named(name: str, path: Path) -> bool:
    return path.name == name and path.is_file()


def _is_checkpoint(path: Path) -> bool:
    return (path / STATE).is_file() or (path.name.isdigit() and path.parent.name == "checkpoints" and path.is_dir())


DOCUMENTS: dict[str, tuple[str, Document[Any]]] = {
    "analysis": ("analysis.json", ANALYSES),
    "scores": ("scores.json", EVALUATIONS),
    "comparison": ("comparison.json", COMPARISON),
    "comparison of latents": ("latent_comparison.json", LATENT_COMPARISON),
    "case": ("case.json", CASE),
}
KINDS = (
    Kind("run", lambda path: (path / "run.yaml").is_file(), _read_run),
    Kind("checkpoint", _is_checkpoint, verify_own_folder),
    Kind("export", lambda path: (path / MANIFEST).is_file() and (path / CONFIG).is_file(), verify_own_folder),
    Kind("cache", is_cache, _verify_cache),
    Kind("samples", is_samples, _verify_samples),
    Kind("stage", lambda path: (path / RECORD).is_file(), _verify_stage),
    Kind("reference", is_reference, lambda path: _read_all({path: load_reference})),
    Kind("study", partial(_is_named, "study.json"), _read_study),
    *(Kind(kind, partial(_is_named, name), partial(_read_document, doc)) for kind, (name, doc) in DOCUMENTS.items()),
)
"""Everything that our commands write, but pages and pictures of reports."""
