"""The inputs on which the recorded values of metrics were taken, rebuilt with numpy alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch


def white(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape)


def powerlaw(seed, shape, beta):
    h, w = shape[-2:]
    f = np.sqrt(np.fft.fftfreq(h)[:, None] ** 2 + np.fft.fftfreq(w)[None] ** 2)
    f[0, 0] = f[f > 0].min()
    y = np.fft.ifft2(np.fft.fft2(white(seed, shape)) * f ** (-beta / 2)).real
    return y / y.std()


def mixed(seed, shape, beta):
    c = shape[1]
    field = np.einsum("ck,nkhw->nchw", white(seed + 1000, (c, c)), powerlaw(seed, shape, beta))
    return field + (np.arange(c) / c)[:, None, None]


def halves(b, c, h, w):
    x = np.ones((b, c, h, w))
    x[..., w // 2 :] = -1
    return x


def clustered(seed, n_classes, n, shape, spread):
    generator = np.random.default_rng(seed)
    means = generator.standard_normal((n_classes, *shape))
    noise = generator.standard_normal((n_classes * n, *shape))
    labels = np.arange(n_classes * n) % n_classes
    return (means[labels] + spread * noise).astype("float32"), labels


def diskmask(h, w, r):
    i, j = np.arange(h)[:, None], np.arange(w)
    return (i - (h - 1) / 2) ** 2 + (j - (w - 1) / 2) ** 2 <= r**2


def left_mask():
    mask = np.zeros((1, 16, 16), bool)
    mask[..., :8] = True
    return mask


RECIPES = {
    "white": white,
    "powerlaw": powerlaw,
    "mixed": mixed,
    "halves": halves,
    "clustered": clustered,
    "diskmask": diskmask,
    "default_rng": np.random.default_rng,
    "concatenate": np.concatenate,
    "numpy": np,
}
IN_WORDS = {"LM": left_mask}


@pytest.fixture(scope="session")
def oracle_input():
    """name → the recorded input as a float64 tensor, masks as bool; its check values hold."""
    recorded = json.loads((Path(__file__).parents[1] / "oracles" / "metric_values.json").read_text())["inputs"]
    built = {}

    def build(name):
        if name not in built:
            entry = recorded[name]
            expression = entry["expr"].replace("shape ", "")
            array = IN_WORDS[name]() if name in IN_WORDS else eval(expression, {"__builtins__": {}}, RECIPES)
            array = np.asarray(array).astype(entry["dtype"]).astype("float64")
            assert list(array.shape) == entry["shape"]
            check = entry["check"]
            assert array.sum() == pytest.approx(check["sum"], rel=1e-8, abs=1e-6)
            assert np.square(array).sum() == pytest.approx(check["sumsq"], rel=1e-8)
            assert array.ravel()[:3] == pytest.approx(check["first3"], rel=1e-8, abs=1e-9)
            tensor = torch.from_numpy(array)
            built[name] = tensor.bool() if entry["dtype"] == "uint8" else tensor
        return built[name]

    return build
