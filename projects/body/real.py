"""Teach the segmentor of bodies what holds no organ: `python projects/body/real.py DATA OUT --start RUN`.

DATA/sts_ctmr holds CT and T1 MR of legs, arms and buttocks (CC BY 3.0, credit in the model card). Of its patients every
other one, in their order, is shown, mirrored and as bright as it comes; those left out judge. There every voxel is to
be background, thigh bone or pelvis, whichever the network takes it for. Half of the steps are painted, as in
`train.py`. RUN is a run of `train.py`; the weights go to OUT/weights.safetensors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jssr.io.images import read_image
from jssr.preprocessing.modality import decide_modality
from jssr.preprocessing.prepare import prepare_image
from jssr.recipes.segmentor import STRUCTURES

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
import painted  # noqa: E402
import train  # noqa: E402

RIGHT = [0, STRUCTURES.index("pelvis") + 1, STRUCTURES.index("femurs") + 1]
STEPS, RATE = 800, 3e-4


def taught(data: Path) -> list[str]:
    """Patients that are shown."""
    return [p.name for p in sorted((data / "sts_ctmr").iterdir()) if p.is_dir()][::2]


def prepared(data: Path, patient: str, scan: str, folder: Path) -> Path:
    """The file of one scan on the working grid."""
    path = folder / f"{patient}_{scan}.npz"
    if not path.exists():
        image, _ = decide_modality(read_image(data / "sts_ctmr" / patient / f"{scan}.nii.gz"))
        to = train.RECIPE.preprocessing
        np.savez_compressed(path, image=prepare_image(image, to.spacing, to.window).image.numpy())
    return path


def read(path: Path) -> Tensor:
    """A scan (1, 1, *shape) in -1..1, or the tissue codes of a body."""
    file = np.load(path)
    return torch.from_numpy(file["image"]) if "image" in file.files else painted.tissue(path)


def example(scans: int, known: Sequence[Tensor], step: int) -> painted.Example:
    """A scan without organs in every odd step, whose classes are all -1, else a painted one: the first `scans` of
    `known` are scans."""
    if step % 2 == 0:
        return train.picture(known[scans:], step)
    random = np.random.default_rng(step)
    image = known[random.integers(scans)].flip([axis + 2 for axis in range(3) if random.random() < 0.5])
    image = ((image + 1) / 2) ** float(np.exp(random.uniform(-0.3, 0.3))) * 2 - 1
    noise = torch.from_numpy(random.standard_normal(image.shape)).float()
    image = (image + 0.03 * float(random.random()) * noise).clamp(-1, 1)
    return image, torch.full(image.shape[1:], -1)


def loss_of(net: nn.Module, image: Tensor, classes: Tensor) -> Tensor:
    """As `train.loss_of`; of a scan without organs, minus the logarithm of the probability of what is right."""
    if int(classes.min()) >= 0:
        return train.loss_of(net, image, classes)
    log = net(image).float().log_softmax(dim=1)
    return -log[:, RIGHT].logsumexp(dim=1).mean()


def main() -> None:
    """Go on from a run of `train.py`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--bodies", type=int, default=120)
    parser.add_argument("--steps", type=int, default=STEPS)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    files = [prepared(chosen.data, p, s, chosen.out) for p in taught(chosen.data) for s in ("ct", "mr_t1")]
    bodies = painted.bodies(chosen.out, chosen.bodies)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = train.network()
    before = painted.averaged(chosen.start, net)
    make: Any = partial(painted.Examples, [*files, *bodies], partial(example, len(files)), read=read)
    painted.train(chosen.out, net, make, loss_of, painted.Plan(chosen.steps, RATE, average=0.99))
    train.export(chosen.out, before)


if __name__ == "__main__":
    main()
