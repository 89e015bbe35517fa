import logging

import pytest
import torch

from spectrum_matching.comparison.plans import PLANS
from spectrum_matching.nets.precision import _warn_once, require_precision
from spectrum_matching.training.diffusion_config import PRESETS

SUPPORT = {"bf16": "_is_mkldnn_bf16_supported", "fp16": "_is_mkldnn_fp16_supported"}
CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", SUPPORT)
@pytest.mark.parametrize("supported", [True, False])
def test_require_precision_warns_of_a_cpu_that_emulates_it(precision, supported, monkeypatch, caplog):
    monkeypatch.setattr(torch.ops.mkldnn, SUPPORT[precision], lambda: supported, raising=False)
    _warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        require_precision(precision, CPU)
        require_precision(precision, CPU)  # is not warned of again
    assert caplog.messages == (
        [] if supported else [f"precision is {precision}, which this CPU only emulates, many times slower: use fp32"]
    )


@pytest.mark.parametrize("precision", SUPPORT)
def test_require_precision_can_ask_torch_of_this_cpu(precision):
    assert getattr(torch.ops.mkldnn, SUPPORT[precision])() in (True, False)


def test_require_precision_says_nothing_of_fp32(caplog):
    require_precision("fp32", CPU)
    assert not caplog.messages


def test_presets_for_a_cpu_need_no_half_precision():
    small = [make() for name, make in PRESETS.items() if name.startswith("tiny")]
    plans = [
        PLANS[name]() for name in ("demo", "demo-fast", "embedded", "cifar10", "cifar10_alignment") if name in PLANS
    ]
    assert len(small) > 4
    assert len(plans) > 2
    precisions = [run.precision for run in small]
    precisions += [part.precision for plan in plans for part in (plan.autoencoder, plan.diffusion, plan.sampling)]
    assert set(precisions) == {"fp32"}
