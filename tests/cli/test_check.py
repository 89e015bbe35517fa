import random
import shutil
import subprocess

import pytest

from spectrum_matching.cli.check import check
from spectrum_matching.cli.evaluate import reference
from spectrum_matching.cli.main import main
from spectrum_matching.cli.sample import sample
from spectrum_matching.files.stages import run_stage


@pytest.fixture(scope="session")
def made(trained_diffusion, latent_cache, image_folder, tmp_path_factory):
    """A folder that holds one product of most kinds."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(trained_diffusion, folder / "run")
    shutil.copytree(latent_cache, folder / "latents")
    for name in ("s.npz", "folder", "grid.png"):
        sample(str(trained_diffusion), out=folder / name, num_images=3)
    reference(str(image_folder), out=folder / "r.safetensors", size=32)
    run_stage(folder, "score", {}, lambda stage: (stage / "numbers.json").write_text('{"fid": 3}') and None)
    return folder


@pytest.fixture
def products(made, tmp_path):
    return shutil.copytree(made, tmp_path / "made")


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["check", *map(str, arguments)])
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


def test_check_reads_every_product(products, capsys):
    check([products])
    *lines, verdict = capsys.readouterr().out.splitlines()
    found = {(line.split()[0], line.split()[1].removeprefix(f"{products}/").rstrip(":")) for line in lines}
    checkpoints = {("checkpoint", f"run/checkpoints/{path.name}") for path in (products / "run/checkpoints").iterdir()}
    (stage,) = products.glob("score-*")
    expected = {("run", "run"), ("export", "run/export"), ("cache", "latents"), ("reference", "r.safetensors")}
    expected |= {("samples", name) for name in ("s.npz", "folder", "grid.png")} | {("stage", stage.name)} | checkpoints
    assert found == expected
    assert "all as they were written" in verdict
    assert f"cache {products}/latents: 3 files" in "\n".join(lines)


def test_check_notices_a_flipped_bit_in_every_file_that_carries_a_checksum(products, capsys):
    unsealed = {"run.yaml", "metrics.json", "log.jsonl", ".lock"}
    files = [path for path in products.rglob("*") if path.is_file() and path.name not in unsealed]
    assert len(files) > 15
    choose = random.Random(0)
    for path in files:
        content = bytearray(path.read_bytes())
        bit = choose.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(SystemExit) as caught:
            check([products])
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert caught.value.code == 1, path
        assert "DAMAGED" in capsys.readouterr().out
    check([products])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run/run.yaml", b"steps: [", "run.yaml"),
        ("run/metrics.json", b"", "metrics.json is damaged: it is not JSON (it is empty)"),
        ("run/log.jsonl", b'{"step": 1}\nnull\n', "log.jsonl: line 2 is damaged"),
        ("latents/index.json", b"[" * 100_000, "index.json is damaged: it is nested too deeply"),
        ("folder/000001.png", b"", "000001.png is damaged"),
    ],
)
def test_check_exits_with_1_and_names_what_is_damaged(products, capsys, name, content, said):
    (products / name).write_bytes(content)
    status, out, _ = run(capsys, products)
    assert status == 1
    assert out.count("DAMAGED") == 1
    assert said in out
    assert out.splitlines()[-1].endswith("1 of them damaged or incomplete")


def test_check_refuses_what_specmatch_did_not_write(image_folder, tmp_path, capsys):
    for path, said in ((image_folder, "holds nothing that specmatch wrote"), (tmp_path / "none", "no such file")):
        status, out, err = run(capsys, path)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert said in err


def test_export_of_others_opens_as_before_and_takes_added_files(products, capsys):
    export = products / "run" / "export"
    (export / "README.md").write_text("# Mine\n")
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=export).returncode == 0
    check([export])
    assert "export" in capsys.readouterr().out
