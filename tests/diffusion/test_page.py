"""The programs of docs/diffusion.md and docs/alignment.md, run as they are printed there."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "diffusion.md").read_text()


def test_diffusion_page_program_samples_the_requested_class():
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    scope = {"__name__": "program"}
    exec(program, scope)
    means = scope["samples"].mean((1, 2, 3))
    assert (means[0::2] < -0.5).all()
    assert (means[1::2] > 0.5).all()


def test_alignment_page_program_trains_denoiser_and_projector():
    page = (Path(__file__).parents[2] / "docs" / "alignment.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    scope = {"__name__": "program"}
    exec(program, scope)
    scope["total"].backward()
    for module in (scope["denoiser"].blocks[0], scope["alignment"].projector):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
