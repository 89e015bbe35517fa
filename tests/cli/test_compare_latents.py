import json
import shlex
import shutil

import pytest
import torch

from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.autoencoder.mapped import MappedAutoencoder
from spectrum_matching.records.latent_maps import LATENT_COMPARISON

FEW = ("--size", 32, "--num-tests", 2, "--batch-size", 8)


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """An autoencoder of the small one's shape with other weights."""
    folder = tmp_path_factory.mktemp("second") / "autoencoder"
    Autoencoder.from_preset("tiny", seed=1).save_pretrained(folder)
    return folder


def test_compare_latents_answers_and_saves_a_map_that_decodes(
    specmatch, small_autoencoder, second, image_folder, tmp_path
):
    pair = f"A={small_autoencoder}", f"B={second}"
    saved = tmp_path / "map"
    chosen = "--split", "all"
    arguments = (*pair, "--data", image_folder, *FEW, *chosen, "--out", tmp_path / "out", "--save-map", saved)
    status, output, _ = specmatch("compare-latents", *arguments)
    assert status == 0
    lines = output.splitlines()
    assert len(lines) <= 10
    comparison = LATENT_COMPARISON.read(tmp_path / "out" / "latent_comparison.json")
    assert lines[0] == comparison.direction("A", "B").sentence
    assert lines[-2:] == [str(saved), str(tmp_path / "out" / "report.html")]
    assert comparison.sample.n_images == 24
    assert comparison.command == shlex.join(["specmatch", "compare-latents", *map(str, arguments)])

    mapped = MappedAutoencoder.from_pretrained(saved)
    routes = [route for route in comparison.direction("A", "B").routes if route.kernel]
    assert mapped.map.conv.kernel_size[0] == max(routes, key=lambda route: float(route.psnr)).kernel
    latents = torch.zeros(1, 8, 8, 8)
    assert mapped.decode(latents).shape == (1, 3, 32, 32)
    status, output, _ = specmatch("check", tmp_path)
    assert status == 0
    assert f"comparison of latents {tmp_path / 'out' / 'latent_comparison.json'}" in output

    # As a whole it is an autoencoder of A's latents, which no map to itself may replace.
    whole = "compare-latents", f"A={small_autoencoder}", f"whole={saved}", *arguments[2:-1]
    status, _, error = specmatch(*whole, saved)
    assert status == 2
    assert "is one of the two that are compared; choose another folder" in error
    # Another map is replaced, and what lies beside it is kept.
    another = shutil.copytree(saved, tmp_path / "another")
    (another / "notes.txt").write_text("mine")
    status, _, error = specmatch(*whole, another)
    assert status == 0, error
    assert (another / "notes.txt").read_text() == "mine"
    assert MappedAutoencoder.from_pretrained(another).decoder.kind == "MappedAutoencoder"
    whole = LATENT_COMPARISON.read(tmp_path / "out" / "latent_comparison.json").direction("A", "whole")
    assert float(whole.routes[0].r2) == 1


def test_a_map_fitted_in_bfloat16_opens(specmatch, small_autoencoder, second, image_folder, tmp_path):
    pair, saved = (f"A={small_autoencoder}", f"B={second}"), tmp_path / "map"
    options = (*FEW, "--dtype", "bfloat16", "--out", tmp_path / "out", "--save-map", saved)
    status, _, error = specmatch("compare-latents", *pair, "--data", image_folder, *options)
    assert status == 0, error
    assert MappedAutoencoder.from_pretrained(saved).decoder.dtype == torch.float32


def test_compare_latents_of_three_gives_a_matrix(specmatch, small_autoencoder, second, image_folder, tmp_path):
    names = [f"A={small_autoencoder}", f"B={second}", f"C={small_autoencoder}"]
    status, output, _ = specmatch("compare-latents", *names, "--data", image_folder, *FEW, "--out", tmp_path)
    assert status == 0
    assert "Nearest are A and C: a linear map explains 100% of the variance" in output
    assert "Of 6 directions 2 decode as they are" in output
    document = json.loads((tmp_path / "latent_comparison.json").read_text())["comparison"]
    assert len(document["directions"]) == 6
    assert len({picture["image"] for picture in document["pictures"]}) == 1


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], (), "no autoencoder was given"),
        (["A={a}"], (), "one latent space has no other to be compared with: name two autoencoders or more"),
        (["A={a}", "B=latents:x"], (), "B: cached latents have no decoder to be compared by; name their autoencoder"),
        (["A={a}", "B={b}", "C={a}"], ("--save-map", "{out}/map"), "name two, not 3"),
        (["A={a}", "B={b}"], ("--save-map", "{a}"), "and no map of specmatch; choose another folder"),
        (["A={a}", "B={b}"], ("--size", 30), "A: size 30 is not a multiple of 4"),
        (["A={a}", "B={b}"], ("--num-tests", 1), "two images and two tests or more; got 24 and 1"),
        (["A={a}", "B={b}"], ("--batch-size", 0), "--batch-size is 0: expected at least 1"),
        (["A={a}", "B=no/such"], (), "no/such"),
    ],
)
def test_compare_latents_refuses_bad_input_in_one_line(
    specmatch, small_autoencoder, second, image_folder, tmp_path, names, options, message
):
    known = {"a": small_autoencoder, "b": second, "out": tmp_path}
    arguments = [str(word).format(**known) for word in (*names, "--data", image_folder, "--size", 32, *options)]
    status, _, error = specmatch("compare-latents", *arguments, "--out", tmp_path / "out")
    assert status == 2
    *information, line = error.splitlines()
    assert message in line
    assert len(information) <= 1  # which images were opened
    assert not list((tmp_path / "out").glob("*.json"))


def test_compare_latents_in_tiles_says_so(specmatch, small_autoencoder, second, image_folder, tmp_path):
    arguments = "--data", image_folder, "--size", 72, "--num-tests", 2, "--split", "all", "--out", tmp_path
    assert specmatch("compare-latents", f"A={small_autoencoder}", f"B={second}", *arguments, "--tiling")[0] == 0
    comparison = LATENT_COMPARISON.read(tmp_path / "latent_comparison.json")
    assert [note[:2] for note in comparison.notes if "tiles of 64 pixels" in note] == ["A:", "B:"]
    assert comparison.command.endswith(" --tiling")
