"""The program of docs/diffusion.md, run as it is printed there."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "diffusion.md").read_text()


def test_the_program_of_the_page_draws_samples_of_the_class_asked_for():
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    scope = {"__name__": "program"}
    exec(program, scope)
    means = scope["samples"].mean((1, 2, 3))
    assert (means[0::2] < -0.5).all()
    assert (means[1::2] > 0.5).all()
