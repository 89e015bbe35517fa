from pathlib import Path

import pytest

from spectrum_matching.cli.demo import SHARES, WORDS, GrowingPage
from spectrum_matching.cli.demo import demo as demo_command
from spectrum_matching.comparison.plans import demo
from spectrum_matching.files.outputs import is_product
from spectrum_matching.files.signals import Stopped


def test_shares_are_of_the_stages_of_a_trial():
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert SHARES.keys() == WORDS.keys()


@pytest.mark.parametrize("fast", [False, True])
def test_demo_plan_has_one_seed_and_small_images(fast):
    plan = demo(fast)
    assert (len(plan.entries), len(plan.seeds), plan.autoencoder.data.size) == (3, 1, 32)


def test_growing_page_is_there_at_once_and_says_what_is_left(tmp_path):
    page = GrowingPage(tmp_path / "report.html", ("A", "B"), "A")
    assert page.left() == ""

    def work(folder: Path) -> None:
        shown = (tmp_path / "report.html").read_text()
        assert is_product(tmp_path / "report.html")
        assert '<meta http-equiv="refresh" content="5">' in shown
        assert "A, 1 of 2: encoding all images" in shown
        assert "tiny SDXL" in shown
        (folder / "x.json").write_text("{}")

    page.run_stage(tmp_path / "a", "cache", {"n": 1}, work)
    page.seconds = 30.0  # of cache, 0.08 of the first of two trials
    assert page.left() == "about 12 min left"
    page.write("scoring them")
    assert "About 12 min left." in (tmp_path / "report.html").read_text()
    page.seconds, page.share = 60.0, 0.9
    assert page.left() == "about a minute left"


@pytest.mark.parametrize("error", [Stopped(2), ValueError("no room")])
def test_demo_that_is_interrupted_leaves_a_page_that_waits_for_nothing(tmp_path, monkeypatch, error):
    def stop(opened, name, seed, run_stage, progress):
        run_stage(tmp_path / "a", "cache", {"n": 1}, fail)

    def fail(folder):
        raise error

    monkeypatch.setattr("spectrum_matching.cli.demo.run_trial", stop)
    with pytest.raises(type(error)):
        demo_command(tmp_path / "out", fast=True)
    shown = (tmp_path / "out" / "report.html").read_text()
    assert "Interrupted: SD-VAE, 1 of 3: encoding all images" in shown
    assert "The same command goes on from there" in shown
    assert "refresh" not in shown
    assert "loads itself" not in shown
