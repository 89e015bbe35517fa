import json

from trials import save_rows


def test_save_rows_keeps_earlier_rows_and_replaces_the_same(tmp_path):
    path = tmp_path / "answers.json"
    first = [{"seed": 1, "dose": 2, "value": 5}, {"seed": 0, "dose": 1, "value": 6}]
    save_rows(path, {"rows": (first, ("seed", "dose"))}, lambda merged: {"n": len(merged["rows"])})
    later = [{"seed": 1, "dose": 2, "value": 7}, {"seed": 1, "dose": 1, "value": 8}]
    found = save_rows(path, {"rows": (later, ("seed", "dose"))}, lambda merged: {"n": len(merged["rows"])})
    assert found == json.loads(path.read_text())
    assert found["question"] == "answers"
    assert [row["value"] for row in found["rows"]] == [6, 8, 7]
    assert found["n"] == 3
    assert [each.name for each in tmp_path.iterdir()] == ["answers.json"]
