from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from shared_steps import joint, main, toy

from jssr.core.hardware import torch_threads
from jssr.core.launched import Launched
from jssr.errors import Interrupted, TrainingError, WorkerError
from jssr.training import processes as module
from jssr.training.processes import Processes, RunOptions, processes, stoppable

pytestmark = pytest.mark.usefixtures("toy", "one_thread")
SCRIPT = Path(__file__).parents[1] / "support" / "shared_steps.py"
ROUNDING = 2e-5
"""Of float32 sums in another order (some 1e-6 of a loss) after up to 14 steps, in tables of six digits. The joint steps
are by SGD: Adam's first steps make a step of full size of a gradient that is zero but for rounding."""
LOST = "one of the 2 processes ended before its work was done"


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


def environment(**more: object) -> dict[str, str]:
    path = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    given = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "MASTER_PORT": free_port(), **more}
    return os.environ | {name: str(value) for name, value in given.items()}


def torchrun(count: int, out: Path, *scenarios: str) -> None:
    """The scenarios in so many processes of torchrun."""
    starter = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(count),
        "--master-port",
        free_port(),
    ]
    ended = subprocess.run(
        [*starter, str(SCRIPT), str(out), *scenarios], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def srun(out: Path, *scenarios: str) -> list[tuple[int, str]]:
    """The scenarios in two processes that see what srun tells its tasks; the exit code and the words of each."""
    shared = {"SLURM_STEP_ID": 0, "SLURM_JOB_ID": 4711, "SLURM_NTASKS": 2, "SLURM_NNODES": 1, "SLURM_NODEID": 0}
    place = environment(**shared, SLURM_NODELIST="localhost")
    command = [sys.executable, str(SCRIPT), str(out), *scenarios]
    started = [
        subprocess.Popen(
            command, env=place | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank}, stdout=-1, stderr=-1, text=True
        )
        for rank in ("0", "1")
    ]
    return [(process.returncode, words[0]) for process in started if (words := process.communicate(timeout=300))]


def done(run: Path) -> int:
    """The steps of its checkpoint."""
    return int(json.loads((run / "checkpoint" / "state.json").read_text())["step"])


def losses(run: Path) -> list[dict[str, str]]:
    with (run / "losses.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds_per_step"} for row in csv.DictReader(file)]


def alike(first: Path, second: Path) -> None:
    """Every loss and gradient norm of every step is the same but for rounding."""
    one, other = losses(first), losses(second)
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert (a["step"], a["stage"]) == (b["step"], b["stage"])
        for name in a.keys() - {"step", "stage"}:
            if a[name] or b[name]:
                assert float(a[name]) == pytest.approx(float(b[name]), rel=ROUNDING, abs=1e-7), (name, a["step"])


@pytest.fixture
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the scenarios."""
    from toy_system import build

    from jssr.systems import SYSTEMS

    out = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SYSTEMS, "toy", build)
        main(out, ["batches", "normed", "samples", "both"])
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes of torchrun make of them, and of a run that one process has begun."""
    out = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared_steps.RANK", 1)  # which gets SIGTERM, here from itself
        main(out, ["stopped"])
    assert done(out / "stopped") == 4
    torchrun(2, out, "batches", "normed", "samples", "batches=stopped")
    return out


def test_two_processes_have_the_losses_of_one(alone: Path, two: Path) -> None:
    """Whole batches, with dropout in them, of three stages with a critic; and samples of one batch in JSSR's joint
    steps, of which the masks and the classes that are there differ."""
    alike(alone / "batches", two / "batches")
    alike(alone / "samples", two / "samples")
    assert float(losses(alone / "samples")[0]["main/sup"]) > 0
    assert done(two / "samples") == 4
    assert sorted(p.name for p in (two / "samples").iterdir()) == sorted(p.name for p in (alone / "samples").iterdir())


def test_two_processes_go_on_where_one_was(alone: Path, two: Path) -> None:
    alike(alone / "batches", two / "stopped")


def test_running_means_are_those_of_one_process(alone: Path, two: Path) -> None:
    a, b = (load_file(out / "normed" / "checkpoint" / "average.safetensors") for out in (alone, two))
    names = [name for name in a if "running" in name or "tracked" in name]
    assert len(names) == 3
    for name in names:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4)
    assert int(a["S.module.1.num_batches_tracked"]) == 16  # 4 batches a step, wherever they were


def test_four_processes_that_fabric_starts_share_batches_and_their_samples(alone: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "both"]
    ended = subprocess.run(command, env=environment(DEVICES=4), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    alike(alone / "both", tmp_path / "both")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str]]]:
    """Two processes of srun: SIGTERM to the second one in a first run, and an error in it in another."""
    out = tmp_path_factory.mktemp("ended")
    return out, srun(out, "stopped", "broken")


def test_a_signal_to_one_process_stops_both_and_one_goes_on(alone: Path, ended: Any) -> None:
    out, said = ended
    # In step 4 of 14, which has the batches 12 to 15: both end after it.
    assert all("Interrupted" in words and "stopped after step 4 and saved" in words for _, words in said)
    assert ["saved; resume to continue; told: False" in words for _, words in said] == [True, False]
    assert done(out / "stopped") == 4
    main(out, ["batches=stopped"])
    alike(alone / "batches", out / "stopped")


def test_a_process_that_fails_ends_the_other_and_tells_it_alone(ended: Any) -> None:
    (code, first), (other, second) = ended[1]
    assert code == other == 1  # gloo alone would wait half an hour
    assert "OSError: the disc of the second process is gone; told: False" in second
    assert "told: True" in first.splitlines()[-1] and LOST in first


def test_of_a_process_that_is_killed_the_other_tells(tmp_path: Path) -> None:
    first, second = srun(tmp_path, "killed")
    assert second[0] == -signal.SIGKILL
    assert first[0] == 1 and LOST in first[1] and "told: False" in first[1]


def test_steps_that_cannot_be_shared_are_refused_before_others_are_started(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Fabric, "launch", lambda *_: pytest.fail("others were started"))
    settings, _, _ = toy()
    with (
        pytest.raises(TrainingError, match=r"that 2 processes can share equally, got 1 .*training.batch=2"),
        processes(settings, RunOptions(devices=2, accelerator="cpu")),
    ):
        pass


def test_devices_must_be_those_of_the_starter(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "launched", lambda: Launched("torchrun", 0, 4, 2))
    settings, _, _ = joint(batch=4)
    with (
        pytest.raises(TrainingError, match="torchrun has started processes on this machine .2., got 3"),
        processes(settings, RunOptions(devices=3, accelerator="cpu")),
    ):
        pass


def test_float16_is_refused_on_a_cpu() -> None:
    settings, _, _ = toy(precision="16-mixed")
    with (
        pytest.raises(TrainingError, match="expected a GPU for training.precision 16-mixed.*bf16-mixed"),
        processes(settings, RunOptions(accelerator="cpu")),
    ):
        pass


def test_emulated_bfloat16_is_warned_of(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: False)
    settings, _, _ = toy(precision="bf16-mixed")
    with processes(settings, RunOptions(accelerator="cpu")) as group:
        assert (group.precision, group.world, group.first) == ("bf16-mixed", 1, True)
    assert "emulates" in caplog.text


def test_what_is_not_the_same_in_all_processes_is_named(monkeypatch: Any) -> None:
    def gather(every: list[Any], mine: Any) -> None:
        every[:] = [mine, {**mine, "recipe": "other"}]

    class Two:
        world_size = 2

    monkeypatch.setattr(module.dist, "all_gather_object", gather)
    with pytest.raises(
        TrainingError, match="the same recipe in all processes, got mine in the first and other in proc"
    ):
        Processes(Two(), "32-true", 2).agree({"recipe": "mine"})  # type: ignore[arg-type]


@pytest.mark.parametrize("alone", [True, False])
def test_a_second_signal_acts_at_once_only_where_no_starter_repeats_it(alone: bool, monkeypatch: Any) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with stoppable(alone) as asked:
            assert not asked()
            signal.raise_signal(signal.SIGTERM)
            assert asked() and not heard
            now[0] += 1.0
            signal.raise_signal(signal.SIGTERM)
            assert bool(heard) == alone
            now[0] += 60.0
            signal.raise_signal(signal.SIGTERM)
            assert heard
    finally:
        signal.signal(signal.SIGTERM, before)


class Store:
    """What two processes have in common."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.seen = 0

    def compare_set(self, key: str, _: str, value: str) -> bytes:
        return self.kept.setdefault(key, value).encode()

    def add(self, _: str, more: int) -> int:
        self.seen += more
        return self.seen


def test_whoever_ends_first_tells_and_a_stop_is_told_by_the_first(monkeypatch: Any) -> None:
    store = Store()
    monkeypatch.setattr(module, "_store", lambda: store)
    monkeypatch.setattr(module.dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(module, "LINGER", 0.0)
    stops = [module._ended(Interrupted("stopped"), rank, 2) for rank in (1, 0)]
    assert [stop.told for stop in stops] == [True, False]  # type: ignore[attr-defined]
    second = module._ended(KeyboardInterrupt(), 1, 2)
    first = module._ended(RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"), 0, 2)
    assert not second.told and first.told  # type: ignore[attr-defined]
    assert isinstance(first, WorkerError) and isinstance(second, KeyboardInterrupt)
    monkeypatch.setattr(module, "_store", lambda: None)  # gone with the first process
    alone = module._ended(RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"), 1, 2)
    assert LOST in str(alone) and not alone.told  # type: ignore[attr-defined]
