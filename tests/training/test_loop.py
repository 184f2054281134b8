from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_jssr import tiny_recipe
from toy_system import SIZE, Blobs, Toy, build, recipe

from jssr.errors import ImageError, Interrupted, OutputError, TrainingError
from jssr.recipes.config import Recipe
from jssr.recipes.load import build_system
from jssr.recipes.weights import load_system
from jssr.systems.base import Batch
from jssr.training.loop import RunOptions, train

pytestmark = pytest.mark.usefixtures("toy")
STEPS = 14


def make(settings: Recipe) -> Toy:
    return build(settings.network.networks, {}, 2)


def run(out: Path, settings: Recipe | None = None, source: object | None = None, **more: object) -> Toy:
    settings = settings or recipe()
    called = {name: more.pop(name) for name in ("data", "on_step", "on_picture") if name in more}
    options = RunOptions(**{"accelerator": "cpu", "deterministic": True, **more})  # type: ignore[arg-type]
    return train(settings, make(settings), source or Blobs(), out, options, **called)  # type: ignore[arg-type, return-value]


def same(first: Path, second: Path) -> None:
    """All three stages' weights, moments and averages of two runs are the same to the bit."""
    for name in ("weights", "optimiser", "average"):
        a, b = (load_file(folder / "checkpoint" / f"{name}.safetensors") for folder in (first, second))
        assert a.keys() == b.keys() and len(a) > 0
        for key in a:
            assert torch.equal(a[key], b[key]), (name, key)
    a, b = load_file(first / "weights.safetensors"), load_file(second / "weights.safetensors")
    assert all(torch.equal(a[key], b[key]) for key in a)


def losses(out: Path) -> list[dict[str, str]]:
    with (out / "losses.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds_per_step"} for row in csv.DictReader(file)]


class DiesAt(Blobs):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def batch(self, step: int, need: frozenset[str]) -> Batch:
        if step == self.step:
            raise KeyboardInterrupt
        return super().batch(step, need)


def test_leaves_what_it_says(tmp_path: Path) -> None:
    system = run(tmp_path / "run", data={"cohort": "discs"})
    rows = losses(tmp_path / "run")
    # Every 2 steps, at each checkpoint (every 3 and at the ends of the stages: 4, 9, 14).
    assert [int(row["step"]) for row in rows] == [2, 3, 4, 6, 8, 9, 10, 12, 14]
    assert list(rows[0]) == [
        "step", "stage", "main/sup", "main/grad_norm", "critic/critic", "critic/grad_norm", "main/gan", "main/reg",
    ]  # fmt: skip
    assert rows[0]["main/sup"] and not rows[0]["main/reg"] and not rows[4]["main/sup"]
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["training"]["stages"][2]["name"] == "joint"
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    # Step 6 and 12: fixed, moving, synthesised, moved and two differences side by side.
    assert [p.name for p in sorted((tmp_path / "run" / "pictures").iterdir())] == [
        "step_0000006.png",
        "step_0000012.png",
    ]
    side = 17 * SIZE  # of 12 pixels, enlarged to 200 at least; gaps of 6, names of 26
    assert Image.open(tmp_path / "run" / "pictures" / "step_0000006.png").size == (6 * side + 5 * 6, side + 26)
    loaded, _, info = load_system(tmp_path / "run")
    assert (info["step"], info["steps"], info["averaged"]) == (STEPS, STEPS, True)
    assert (info["precision"], info["data"]) == ("32-true", {"cohort": "discs"})
    for name, value in system.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    assert not system.training and all(p.requires_grad for p in system.parameters())


def test_learns(tmp_path: Path) -> None:
    settings = recipe(ema=None, warmup_steps=0, schedule="constant", log_every=1, picture_every=0, checkpoint_every=0)
    stages = [s.model_copy(update={"steps": n}) for s, n in zip(settings.training.stages, (80, 60, 0), strict=True)]
    run(tmp_path / "run", settings.changed(training={"stages": tuple(stages)}))
    rows = losses(tmp_path / "run")
    sup = [float(row["main/sup"]) for row in rows[:80]]
    reg = [float(row["main/reg"]) for row in rows[80:]]
    assert sum(sup[-5:]) < 0.5 * sum(sup[:5])
    assert sum(reg[-5:]) < 0.7 * sum(reg[:5])


@pytest.mark.parametrize("died_at", [2, 5, 7, 12])
def test_resumed_is_uninterrupted_to_the_bit(tmp_path: Path, died_at: int) -> None:
    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", source=DiesAt(died_at))
    torch.rand(7)  # the global random state must not matter
    source = Blobs()
    run(tmp_path / "parts", source=source, resume=True)
    # Checkpoints lie after 3, 4 (end of stage), 6, 9 and 12 steps.
    assert source.asked[0] == {2: 0, 5: 4, 7: 6, 12: 12}[died_at]
    same(tmp_path / "whole", tmp_path / "parts")
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def script(folder: Path, body: str) -> list[str]:
    lines = f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[1] / "support")!r})
        import torch
        torch.set_num_threads(1)
        from toy_system import Blobs, build, recipe
        from jssr.training.loop import RunOptions, train
        out = Path(sys.argv[1])
    """
    path = folder / "script.py"
    path.write_text(textwrap.dedent(lines) + textwrap.dedent(body), encoding="utf-8")
    return [sys.executable, str(path)]


def test_resumed_after_sigkill_is_uninterrupted_to_the_bit(tmp_path: Path) -> None:
    body = """
        class Killed(Blobs):
            def batch(self, step, need):
                if step == 8:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().batch(step, need)
        settings = recipe()
        train(settings, build(settings.network.networks, {}, 2), Killed(), out,
              options=RunOptions(accelerator="cpu", deterministic=True))
    """
    command = [*script(tmp_path, body), str(tmp_path / "killed")]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert json.loads((tmp_path / "killed" / "checkpoint" / "state.json").read_text())["step"] == 6
    run(tmp_path / "killed", resume=True)
    run(tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "killed")


def test_sigterm_saves_and_stops(tmp_path: Path) -> None:
    class Terminated(Blobs):
        def batch(self, step: int, need: frozenset[str]) -> Batch:
            if step == 7:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().batch(step, need)

    with pytest.raises(Interrupted, match="stopped after step 8 and saved"):
        run(tmp_path / "parts", source=Terminated())
    assert json.loads((tmp_path / "parts" / "checkpoint" / "state.json").read_text())["step"] == 8
    run(tmp_path / "parts", resume=True)
    run(tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "parts")


def test_batches_made_ahead_change_nothing(tmp_path: Path) -> None:
    run(tmp_path / "here")
    run(tmp_path / "ahead", workers=3)
    same(tmp_path / "here", tmp_path / "ahead")


def test_looking_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path / "watched")
    run(tmp_path / "blind", recipe(monitor_every=0, picture_every=0, log_every=0))
    same(tmp_path / "watched", tmp_path / "blind")


def test_caller_may_draw_the_pictures(tmp_path: Path) -> None:
    drawn: list[tuple[int, str]] = []
    run(tmp_path / "run", on_picture=lambda step, system, folder: drawn.append((step, folder.name)))
    assert drawn == [(6, "pictures"), (12, "pictures")]


def test_bf16_autocast_keeps_weights_in_float32(tmp_path: Path) -> None:
    system = run(tmp_path / "run", recipe(precision="bf16-mixed"))
    plain = run(tmp_path / "plain")
    assert all(value.dtype == torch.float32 for value in system.state_dict().values())
    weight, other = system.G[0].weight, plain.G[0].weight
    assert not torch.equal(weight, other)
    torch.testing.assert_close(weight, other, rtol=0.1, atol=0.02)


def test_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    first = run(tmp_path / "run")
    again = run(tmp_path / "run", source=DiesAt(0), resume=True)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_resume_without_a_state_begins(tmp_path: Path) -> None:
    source = Blobs()
    run(tmp_path / "run", source=source, resume=True)
    assert source.asked[0] == 0


def test_refuses_a_folder_with_a_run(tmp_path: Path) -> None:
    run(tmp_path / "run")
    before = (tmp_path / "run" / "weights.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="already holds a training run"):
        run(tmp_path / "run")
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == before


def test_refuses_to_resume_with_another_recipe(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", source=DiesAt(5))
    with pytest.raises(TrainingError, match="training.clip, training.seed changed"):
        run(tmp_path / "run", recipe(clip=2.0, seed=1, log_every=1), resume=True)
    run(tmp_path / "run", recipe(log_every=1), resume=True)


def test_a_run_of_an_older_version_resumes(tmp_path: Path) -> None:
    """Its recipe lacks keys that came later: they had the values that are the defaults now."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", source=DiesAt(5))
    path = tmp_path / "run" / "recipe.json"
    kept = json.loads(path.read_text())
    for section, later in (("inference", "refine"), ("inference", "one_piece"), ("training", "weight_decay")):
        kept[section].pop(later)
    path.write_text(json.dumps(kept))
    run(tmp_path / "run", resume=True)


def test_refuses_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        run(tmp_path / "file")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="'gpu': torch sees no GPU here; train on 'cpu'"):
        run(tmp_path / "run", accelerator="gpu")
    assert not (tmp_path / "run").exists()


def test_images_too_small_for_the_networks_are_refused(tmp_path: Path) -> None:
    class Small:
        def batch(self, step: int, need: frozenset[str]) -> Batch:
            ones = torch.ones(1, 1, 2, 2, 2)
            return Batch(moving=ones, fixed=ones, moving_mask=ones, fixed_mask=ones)

    settings = tiny_recipe()
    with pytest.raises(
        ImageError, match=r"tiny: expected images of more than \d+ voxels along an axis.*, got 2 x 2 x 2:"
    ):
        train(settings, build_system(settings), Small(), tmp_path / "run", RunOptions(accelerator="cpu"))


def test_nan_stops_with_term_and_step_and_keeps_the_state(tmp_path: Path) -> None:
    settings = recipe()
    system = make(settings)
    system.poisoned_at = 3  # the generator has run in steps 5, 6 and 7; step 8 is the first with NaN
    with pytest.raises(
        TrainingError, match="step 8, stage align, optimiser group main: the loss term reg is not finite"
    ):
        train(settings, system, Blobs(), tmp_path / "run", RunOptions(accelerator="cpu"))
    said = json.loads((tmp_path / "run" / "warnings.json").read_text())
    assert [(warning["kind"], warning["step"]) for warning in said] == [("nan", 8)]
    state = load_file(tmp_path / "run" / "checkpoint" / "weights.safetensors")
    assert all(torch.isfinite(value).all() for value in state.values())
