"""The command `specmatch compare-latents`: is one latent space a drop-in for another, after a linear map or not?"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from tyro.conf import arg

from ..analysis.latent_maps import Compared, compare_latents, layouts
from ..data.images import Split
from ..data.selection import choose_images
from ..files.atomic import explain_write_errors, require_creatable
from ..files.outputs import first_content, is_product
from ..latents.open_latents import is_cached
from ..nets.autoencoder import Autoencoder
from ..nets.autoencoder.mapped import MappedAutoencoder
from ..nets.folders import CONFIG
from ..records.latent_maps import LATENT_COMPARISON, LatentComparison
from ..records.training_data import training_data
from ..report.latent_maps.page import render
from ..report.terminal import latent_comparison_lines
from .names import chosen_device, named_sources
from .output import claims, print_document, print_results, progress_bar, write_page, write_results
from .typed import typed_command

log = logging.getLogger(__name__)

FILE = "latent_comparison.json"


@claims("latent_comparison.json", "report.html")
def compare_all_latents(
    autoencoders: Annotated[Sequence[str], arg(metavar="A B ...")],
    /,
    *,
    out: Path,
    data: str | None = None,
    size: int | None = None,
    num_images: int = 256,
    num_tests: int = 20,
    batch_size: int = 8,
    split: Split | None = None,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    tiling: bool = False,
    save_map: Path | None = None,
    overwrite: bool = False,
) -> LatentComparison:
    """Tell whether B is a drop-in for A: fit linear maps between their latents, and decode A's latents by B.

    For example:
        specmatch compare-latents A=old/export B=new/export --data photos --out a_to_b
        specmatch compare-latents A=old/export B=new/export --data photos --out a_to_b --save-map a_to_b/map

    Args:
        autoencoders: Two or more, as for specmatch analyze; NAME=SOURCE sets the name shown. Of more than two every
            pair is compared.
        out: Folder for latent_comparison.json and report.html.
        data: A folder or parquet path, (hub|stream):NAME[:SPLIT], or "embedded", which is the default.
        size: Side of the square images in pixels; by default that of training, or 256.
        num_images: Number of images, spread over the split, that maps are fitted to and tried on.
        num_tests: Number of these whose latents are decoded.
        batch_size: Images per batch.
        split: Part of the data; by default what training on the same data held out, otherwise all.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
        dtype: Precision of the networks; maps are fitted in float64.
        tiling: Run networks in the tiles of their classes, one image at a time, so that large images fit; numbers
            change.
        save_map: Folder for the map from A's latents to B's that decodes best, of two autoencoders: MappedAutoencoder
            and specmatch analyze open it.
        overwrite: Replace files of these names that specmatch did not write, in any folder.
    """
    sources = named_sources(autoencoders)
    if cached := [name for name, source in sources.items() if is_cached(source)]:
        raise ValueError(f"{cached[0]}: cached latents have no decoder to be compared by; name their autoencoder")
    if batch_size < 1:
        raise ValueError(f"--batch-size is {batch_size}: expected at least 1")
    if save_map is not None:
        if len(sources) != 2:
            raise ValueError(f"--save-map saves the map from one autoencoder to another: name two, not {len(sources)}")
        require_creatable(save_map)
        if (path := first_content(save_map)) is not None and not is_product(save_map / CONFIG):
            raise ValueError(f"--save-map: {save_map} holds {path.name} and no map of specmatch; choose another folder")
        if any(Path(source).expanduser().resolve() == save_map.resolve() for source in sources.values()):
            raise ValueError(f"--save-map: {save_map} is one of the two that are compared; choose another folder")
    chosen = chosen_device(device)
    networks = {name: Autoencoder.from_pretrained(source, tiling=tiling) for name, source in sources.items()}
    trained = {name: training_data(source) for name, source in sources.items()}
    images, notes = choose_images(trained, data or "embedded", size=size, split=split)
    layouts(networks, images.size, min(num_images, len(images)), num_tests)
    with progress_bar("latents") as progress:
        compared = compare_latents(
            networks,
            images,
            sources=sources,
            split=images.choice.split,
            n_images=num_images,
            n_tests=num_tests,
            batch_size=batch_size,
            device=chosen,
            dtype=getattr(torch, dtype),
            command=typed_command(),
            notes=notes,
            progress=progress,
        )
    comparison = compared.record
    for bad in comparison.sample.bad_files:
        log.warning("skipped %s", bad)
    write_results(out, lambda folder: LATENT_COMPARISON.write(folder / FILE, comparison))
    print_document(LATENT_COMPARISON, comparison)
    print_results(*latent_comparison_lines(comparison))
    if save_map is not None:
        _save(compared, sources, save_map)
    write_page(out / "report.html", lambda: render(comparison), str(out / FILE))
    print_results(str(out / "report.html"))
    return comparison


def _save(compared: Compared, sources: dict[str, str], folder: Path) -> None:
    """Save the map from the first space to the second that decodes with the highest PSNR."""
    source, target = sources
    routes = [route for route in compared.record.direction(source, target).routes if route.kernel]
    _, best = max(zip(routes, compared.maps[source, target], strict=True), key=lambda pair: float(pair[0].psnr))
    # Opened again: the digests are of weights as they are saved, and those that ran may have been rounded by --dtype.
    encoder, decoder = (Autoencoder.from_pretrained(sources[name]) for name in (source, target))
    mapped = MappedAutoencoder(encoder, best, decoder)
    with explain_write_errors(str(folder), "rerun the same command, or choose another --save-map"):
        mapped.save_pretrained(folder, sources[source], sources[target])
    print_results(str(folder))
