import logging

from spectrum_matching.training.trackers import WANDB_ID, wandb_id


def test_wandb_id_belongs_to_the_run_directory(tmp_path, caplog):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = wandb_id(tmp_path / "one")
    assert len(first) == 16
    assert wandb_id(tmp_path / "one") == first != wandb_id(tmp_path / "two")
    (tmp_path / "one" / WANDB_ID).write_text("")
    with caplog.at_level(logging.WARNING):
        again = wandb_id(tmp_path / "one")
    assert "is damaged" in caplog.text
    assert wandb_id(tmp_path / "one") == again != first
