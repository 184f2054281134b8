from __future__ import annotations

import pytest
import torch
from torch import nn

from jssr.core import hardware


@pytest.mark.parametrize(
    ("requested", "device", "fast", "expected"),
    [
        ("auto", "cpu", True, "bf16-mixed"),
        ("auto", "cpu", False, "32-true"),
        ("auto", "mps", True, "32-true"),
        ("16-mixed", "cpu", False, "16-mixed"),
        ("32-true", "cpu", True, "32-true"),
    ],
)
def test_choose_precision(
    monkeypatch: pytest.MonkeyPatch, requested: str, device: str, fast: bool, expected: str
) -> None:
    monkeypatch.setattr(hardware, "device_type", lambda accelerator: device)
    monkeypatch.setattr(hardware, "cpu_has_bf16", lambda: fast)
    assert hardware.choose_precision(requested) == expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "16-mixed"), ((8, 0), "bf16-mixed")])
def test_choose_precision_on_gpus(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert hardware.choose_precision("auto", "gpu") == expected


def test_threads_are_for_the_block_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError), hardware.torch_threads(1):
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_device_type_of_a_named_accelerator() -> None:
    assert [hardware.device_type(name) for name in ("cpu", "gpu", "cuda", "mps")] == ["cpu", "cuda", "cuda", "mps"]


def test_either_instruction_set_is_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    for avx, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert hardware.cpu_has_bf16() == (avx or amx)


def test_channels_last_changes_the_layout_and_not_the_result() -> None:
    torch.manual_seed(0)
    nets = nn.ModuleList([nn.Conv3d(2, 3, 3), nn.Conv2d(2, 3, 3), nn.Linear(2, 3)])
    volume, image = torch.randn(2, 2, 5, 6, 7), torch.randn(2, 2, 5, 6)
    before = nets[0](volume), nets[1](image)
    hardware.use_channels_last(nets)
    assert nets[0].weight.stride() == (54, 1, 18, 6, 2)  # type: ignore[operator]
    assert nets[1].weight.stride() == (18, 1, 6, 2)  # type: ignore[operator]
    torch.testing.assert_close((nets[0](volume), nets[1](image)), before)
    assert nets[0](volume).is_contiguous(memory_format=torch.channels_last_3d)
