"""Each loss term of each system is the mean of what the samples of a batch give by themselves, so that processes can
share a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from jssr.systems import SYSTEMS
from jssr.systems.base import Batch, System

PAIRS = 3
SEG = {"widths": [4, 4], "convs": [1, 1], "kernel": 3}
PHNN = {"widths": [4, 4], "convs": [1, 1]}
QUICK = {"distance": 1, "patch": 3, "bins": {"support": 3, "angles": 1, "rings": 1, "slabs": 1}}
LEVELS = {part: {"width": 4, "blocks": 1} for part in ("Phi1", "Phi2", "Phi3")}
UNET = {"encoder": [4, 4], "decoder": [4, 4], "head": []}
RESIDUAL = {"width": 6, "blocks": 2, "dilations": [1, 2], "reach": 4.0, "batch_norm": False}

KINDS: dict[str, Callable[[], tuple[System, int]]] = {
    "jssr": lambda: (
        SYSTEMS["jssr"](
            {
                "G": {"width": 4, "trunk_widths": [4, 4], "trunk_convs": [1, 1]},
                "Phi": PHNN,
                "S": SEG,
                "D": {"width": 4, "layers": 1},
            },
            {"least": 300.0, "coarse": 2, "passes": 2, "squarings": 3},
            3,
        ),
        3,
    ),
    "macjnet": lambda: (
        SYSTEMS["macjnet"](
            {**LEVELS, **{part: {"widths": [4, 6, 8], "heads": 1} for part in "MF"}},
            {"similarity": "macmind", "settings": QUICK},
            3,
        ),
        3,
    ),
    "jrsnet": lambda: (
        SYSTEMS["jrsnet"](
            {"G": RESIDUAL, "F": RESIDUAL, "DY": {"width": 4}, "DX": {"width": 4}}, {"unmasked": 0.6}, 2
        ),
        2,
    ),
    "dual": lambda: (SYSTEMS["dual"]({"M": {"form": "unet", **UNET}}, {}, 1), 3),
    "segmentor": lambda: (SYSTEMS["segmentor"]({"S": SEG}, {"least": 300.0}, 3), 3),
}  # fmt: skip


def batch(n: int) -> Batch:
    """Three pairs, of which masks and classes differ much, and one has no label maps."""
    draw = torch.Generator().manual_seed(2)
    shape = (PAIRS, 1, *[16] * n) if n == 3 else (PAIRS, 1, 24, 24)
    x, y, s, xl, yl = torch.rand(5, *shape, generator=draw) * 2 - 1
    masks = torch.ones(2, *shape)
    for k in range(PAIRS):
        masks[0, k, :, : 5 * k] = 0
        masks[1, k, ..., 15 - 2 * k :] = 0
    labels = [((image > 0.9 - 0.4 * torch.arange(PAIRS).view(-1, 1, *[1] * n)).long()) for image in (x, y, s)]
    if n == 3:
        labels = [one + (image > 0.8).long() for one, image in zip(labels, (x, y, s), strict=True)]
    known = torch.tensor([True, False, True])
    hidden = known.view(-1, 1, *[1] * n)
    truth = torch.randn(PAIRS, n, *shape[2:], generator=draw)
    return Batch(
        x, y, *masks, labels[0] * hidden, labels[1] * hidden, known, xl, yl, truth, s, labels[2],
        torch.rand(PAIRS, 2, generator=draw),
    )  # fmt: skip


def sample(whole: Batch, k: int) -> Batch:
    values = {f.name: getattr(whole, f.name) for f in fields(whole)}
    return replace(whole, memo={}, **{name: v[k : k + 1] for name, v in values.items() if isinstance(v, Tensor)})


@pytest.mark.parametrize("name", KINDS)
def test_a_term_is_the_mean_over_the_samples(name: str) -> None:
    torch.manual_seed(0)
    system, n = KINDS[name]()
    whole = batch(n)
    alone = [sample(whole, k) for k in range(PAIRS)]
    seen = 0
    for group in ("main", "critic", "register", "segmentors"):
        for term in system.losses(whole, group):
            torch.manual_seed(1)
            together = system.losses(whole, group)[term]().detach()
            each = []
            for one in alone:
                torch.manual_seed(1)
                each.append(system.losses(one, group)[term]().detach())
            assert torch.stack(each).std() > 0 or term in ("cons", "sup", "label"), term
            torch.testing.assert_close(together, torch.stack(each).mean(), rtol=2e-5, atol=1e-7, msg=f"{group}/{term}")
            seen += 1
    assert seen >= 2
