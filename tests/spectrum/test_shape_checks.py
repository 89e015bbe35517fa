"""Annotated shapes are checked where CHECK_SHAPES=1 asks for it."""

import os

import pytest
import torch

from spectrum_matching.spectrum import flatten_bands


@pytest.mark.skipif("CHECK_SHAPES" not in os.environ, reason="CHECK_SHAPES=1 is not set")
def test_shape_checks_refuse_sizes_that_contradict_each_other():
    import jaxtyping

    with pytest.raises(jaxtyping.TypeCheckError, match="frequencies"):
        flatten_bands(torch.ones(2, 5), torch.ones(4), 1.0)
