from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer
from toy_system import Toy, build, recipe

from jssr.errors import CheckpointError, OutputError
from jssr.recipes.header import read_info
from jssr.recipes.weights import load_system, save_weights, tensors_checksum
from jssr.training.checkpoint import State, has_state, load_state, save_state
from jssr.training.optimisers import Average, make_optimiser

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def system() -> Toy:
    made = build(recipe().network.networks, {}, 2)
    made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        made.D.weight.normal_()
    return made


@pytest.fixture
def saved(tmp_path: Path, system: Toy) -> Path:
    save_weights(tmp_path / "toy.safetensors", system, recipe(), {"step": 7, "scores": {"dice": 0.5}})
    return tmp_path / "toy.safetensors"


def test_checksum_is_sha256_of_names_shapes_and_bytes() -> None:
    text = b"a torch.float32 (1,)\n" + b"\x00\x00\x80\x3f" + b"b torch.int64 ()\n" + b"\x02" + 7 * b"\x00"
    assert tensors_checksum({"b": torch.tensor(2), "a": torch.tensor([1.0])}) == hashlib.sha256(text).hexdigest()


def test_weights_come_back_with_recipe_and_info(saved: Path, system: Toy) -> None:
    loaded, settings, info = load_system(saved, system="toy")
    assert settings == recipe()
    assert (info["step"], info["scores"], info["system"]) == (7, {"dice": 0.5}, "toy")
    assert not loaded.training
    for name, value in system.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


def test_any_safetensors_reader_reads_them(saved: Path, system: Toy) -> None:
    with safe_open(saved, framework="np") as file:
        assert json.loads(file.metadata()["jssr"])["recipe"]["name"] == "toy"
        assert (file.get_tensor("D.weight") == system.D.weight.detach().numpy()).all()


def test_weights_are_readable_by_whom_other_files_are(saved: Path) -> None:
    other = saved.with_name("other")
    other.write_bytes(b"x")
    assert saved.stat().st_mode == other.stat().st_mode


def test_half_weights_are_half_the_size_and_load_in_full(tmp_path: Path, system: Toy) -> None:
    save_weights(tmp_path / "half.safetensors", system, recipe(), dtype=torch.float16, networks=("G", "Phi", "S"))
    tensors = load_file(tmp_path / "half.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert not any(name.startswith("D") for name in tensors)
    loaded, _, info = load_system(tmp_path / "half.safetensors")
    assert info["networks"] == ["G", "Phi", "S"]
    weight = loaded.get_submodule("G")[0].weight  # type: ignore[index]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, system.G[0].weight.half().float())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "corrupt, truncated or no safetensors"),
        (b"hello, this is no checkpoint at all", "corrupt, truncated or no safetensors"),
        (b"PK\x03\x04 and the rest of a zip file", "PyTorch pickle"),
        (b"\x80\x02}q\x00X\x01\x00\x00\x00a", "PyTorch pickle"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as error:
        load_system(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    torch.save(Evil(), tmp_path / "evil.pth")
    shutil.copy(tmp_path / "evil.pth", tmp_path / "evil.safetensors")
    for name in ("evil.pth", "evil.safetensors"):
        with pytest.raises(CheckpointError, match="convert it"):
            load_system(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(tmp_path: Path) -> None:
    # The file begins with the header's length in little-endian bytes: 0x0280 looks like a pickle of protocol 2.
    header = json.dumps(
        {"__metadata__": {"pad": "x" * 400}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    )
    path = tmp_path / "x.safetensors"
    path.write_bytes((0x0280).to_bytes(8, "little") + header.ljust(0x0280).encode() + b"\x00\x00\x80\x3f")
    with pytest.raises(CheckpointError, match="no jssr checkpoint"):
        load_system(path)


def test_missing_truncated_and_damaged_files(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        load_system(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_system(tmp_path)
    content = saved.read_bytes()
    saved.write_bytes(content[:-10])
    with pytest.raises(CheckpointError, match="corrupt"):
        load_system(saved)
    saved.write_bytes(content[:-10] + b"\x01" + content[-9:])
    with pytest.raises(CheckpointError, match="do not match their checksum"):
        load_system(saved)
    assert read_info(saved)["step"] == 7


def test_another_system_foreign_and_later_files(tmp_path: Path, saved: Path, system: Toy) -> None:
    with pytest.raises(CheckpointError, match="is a checkpoint of 'toy', not of 'jssr'"):
        load_system(saved, system="jssr")
    save_file({"w": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="no jssr checkpoint"):
        load_system(tmp_path / "foreign.safetensors")
    save_weights(saved, system, recipe(), {"format": 99, "version": "9.0"})
    with pytest.raises(CheckpointError, match=r"written by jssr 9\.0; upgrade"):
        read_info(saved)


def test_weights_of_another_size_are_refused(saved: Path, system: Toy) -> None:
    save_weights(saved, system, recipe(networks={"G": {"width": 5}, "Phi": {}, "S": {}, "D": {}}))
    with pytest.raises(CheckpointError, match=r"G\.0\.weight is \(4, 2, 3, 3\) instead of \(5, 2, 3, 3\)"):
        load_system(saved)


def test_writing_where_it_cannot_leaves_the_old_file(tmp_path: Path, saved: Path, system: Toy) -> None:
    before = saved.read_bytes()
    with pytest.raises(OutputError):
        save_weights(saved / "below" / "x.safetensors", system, recipe())
    assert saved.read_bytes() == before


def stepped(system: Toy) -> tuple[Optimizer, Average]:
    """An optimiser and averages that have seen one step of D."""
    optimiser, average = make_optimiser(recipe().training, system), Average(system, 0.5)
    for group in optimiser.param_groups:
        group["lr"] = 0.1
    system.D.weight.square().sum().backward()
    optimiser.step()
    optimiser.zero_grad()
    average.update(("D",))
    return optimiser, average


def test_state_comes_back(tmp_path: Path, system: Toy) -> None:
    optimiser, average = stepped(system)
    save_state(tmp_path / "c", State(5, {"scale": 8.0}, 1.5), system, optimiser, average)
    other = build(recipe().network.networks, {}, 2)
    fresh, other_average = make_optimiser(recipe().training, other), Average(other, 0.5)
    assert load_state(tmp_path / "c", other, fresh, other_average) == State(5, {"scale": 8.0}, 1.5)
    assert torch.equal(other.D.weight, system.D.weight)
    ours, theirs = optimiser.state[system.D.weight], fresh.state[other.D.weight]
    assert ours.keys() == theirs.keys() and len(fresh.state) == 1
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert {name: int(one.n_averaged) for name, one in other_average.networks.items()} == {
        "G": 1,
        "Phi": 1,
        "S": 1,
        "D": 2,
    }
    assert torch.equal(other_average.tensors["D.module.weight"], average.tensors["D.module.weight"])


@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_crash_at_any_rename_leaves_a_whole_state(
    tmp_path: Path, system: Toy, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    optimiser, average = stepped(system)
    folder = tmp_path / "c"
    save_state(folder, State(1), system, optimiser, average)
    renames = 0
    rename = Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == dies_at:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            save_state(folder, State(2), system, optimiser, average)
    assert has_state(folder)
    assert load_state(folder, system, optimiser, average).step == 1
    save_state(folder, State(3), system, optimiser, average)
    assert load_state(folder, system, optimiser, average).step == 3
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_damaged_states_are_refused(tmp_path: Path, system: Toy) -> None:
    optimiser, average = stepped(system)
    folder = tmp_path / "c"
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        load_state(folder, system, optimiser, average)
    save_state(folder, State(1), system, optimiser, average)
    path = folder / "optimiser.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    with pytest.raises(CheckpointError, match=r"optimiser\.safetensors: is damaged"):
        load_state(folder, system, optimiser, average)
    path.unlink()
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        load_state(folder, system, optimiser, average)
    (folder / "state.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        load_state(folder, system, optimiser, average)
