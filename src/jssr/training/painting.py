"""Painting tissue maps anew in every training step: random pose, contrast, texture, blur, slices, noise, bias.

A network that learns from a body in one contrast knows that contrast alone. Here each step draws a part of a body,
bends it, and gives every tissue a new grey value: those of a CT phase or between two, of a spin-echo MR with drawn
times, or wholly random (after Billot et al., SynthSeg, Med Image Anal 2023, and Dey et al., anatomix, ICLR 2025; own
code).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field as ff
from jssr.phantom.contrast import TEXTURE, PatientContrast, sample_contrast, tissue_values
from jssr.phantom.regions import Tissue, column
from jssr.preprocessing.intensity import normalise

__all__ = ["Painter", "Painting"]

T = Tissue
CT_SHARE, MR_SHARE = 0.65, 0.25
"""Shares of the paintings; the rest has random grey values."""
KINDS = ("ct", "echo", "any")
"""What a picture may be: a CT, a spin-echo MR, random grey values."""
FOREIGN_SHARE = 0.1
"""Share of pictures that show no body: shapes, heads. All of them is background."""
WINDOW = (-200.0, 200.0)
_PHASES = ("non-contrast", "arterial", "venous", "delay")
_FAT = [T.FAT_SUBCUTANEOUS, T.FAT_VISCERAL, T.MUSCLE_FAT, T.FAT_PLANE]
_SOFT = (T.LIVER, T.SPLEEN, T.MUSCLE, T.MYOCARDIUM, T.PANCREAS, T.KIDNEY_LEFT_CORTEX, T.STOMACH_CONTENT)


@dataclass(frozen=True)
class Painting:
    """One picture: `image` (1, 1, *size) in -1..1, tissue `codes` (*size) int64 and `modality` "ct" or "mr".

    `foreign` pictures show no body: their codes say what was painted, not which organ it is.
    """

    image: Tensor
    codes: Tensor
    modality: str
    foreign: bool = False


class Painter:
    """Draws pictures of bodies.

    Args:
        bodies: tissue codes, (x, y, z) uint8, x from right to left, z upwards (LPS).
        spacing: of the bodies, mm, the same along each axis.
        size: voxels of a picture.
        voxel: mm of a picture's voxel along each axis.
        seed: draws everything.
        focus: mm from the bodies' lower end; two thirds of the pictures have their middle between the two.
    """

    def __init__(
        self,
        bodies: Sequence[Tensor],
        spacing: float,
        size: Sequence[int],
        voxel: Sequence[float],
        seed: int,
        focus: tuple[float, float] | None = None,
    ) -> None:
        self.bodies, self.spacing = list(bodies), spacing
        self.size, self.voxel, self.focus = tuple(size), tuple(voxel), focus
        self.random, self.numpy = torch.Generator().manual_seed(seed), np.random.default_rng(seed)

    def draw(self) -> Painting:
        """One picture of a place drawn at random."""
        size = self._size()
        if self.chance(FOREIGN_SHARE):
            codes, foreign = self._head(size) if self.chance(0.5) else self.shapes(size), True
        else:
            codes, foreign = self.place(size), False
        image, modality = self.paint(codes)
        return Painting(image[None, None], codes, modality, foreign)

    # -- chance ------------------------------------------------------------------------------------------------------

    def uniform(self, low: float, high: float) -> float:
        """A number."""
        return float(torch.rand((), generator=self.random)) * (high - low) + low

    def chance(self, share: float) -> bool:
        """True in that share of calls."""
        return self.uniform(0, 1) < share

    def whole(self, low: int, high: int) -> int:
        """A whole number; both ends are included."""
        return int(torch.randint(low, high + 1, (), generator=self.random))

    def noise(self, size: Sequence[int], cells: float, channels: int = 1) -> Tensor:
        """Smooth noise with so many cells along the longest axis, (channels, *size), about unit deviation."""
        nodes = [max(2, round(cells * s / max(size)) + 1) for s in size]
        coarse = torch.randn(1, channels, *nodes, generator=self.random)
        return F.interpolate(coarse, size=tuple(size), mode="trilinear", align_corners=True)[0]

    def grain(self, size: Sequence[int]) -> Tensor:
        """White noise."""
        return torch.randn(*size, generator=self.random)

    # -- what is where -----------------------------------------------------------------------------------------------

    def _size(self) -> tuple[int, ...]:
        """The whole size, or now and then a narrow field of view."""
        if self.chance(0.85):
            return self.size
        return tuple(max(32, 16 * round(s * self.uniform(0.4, 1.0) / 16)) for s in self.size)

    def place(self, size: Sequence[int]) -> Tensor:
        """Tissue codes of a part of a body, turned, scaled and bent; air beyond the body's ends."""
        body = self.bodies[self.whole(0, len(self.bodies) - 1)]
        return self.read(body, self.where(body, size), int(T.AIR))

    def where(self, body: Tensor, size: Sequence[int]) -> Tensor:
        """Where each voxel of a picture lies in a body, (3, *size) in the body's voxels."""
        extent = torch.tensor(body.shape) * self.spacing
        fields = torch.tensor(size) * torch.tensor(self.voxel)
        room = (extent - 0.6 * fields).clamp(min=0) / 2
        centre = extent / 2 + torch.tensor([self.uniform(-1, 1) * float(r) for r in room]) * torch.tensor([0.6, 0.6, 1])
        if self.focus is not None and self.chance(0.67):
            centre[2] = self.uniform(*self.focus)
        turn = self._rotation()
        scale = math.exp(self.uniform(-0.18, 0.18))
        axes = [
            (torch.arange(n) - (n - 1) / 2) * v * scale * math.exp(self.uniform(-0.1, 0.1))
            for n, v in zip(size, self.voxel, strict=True)
        ]
        at = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        bend = self.uniform(0, 9) * self.noise(size, 3, 3) + self.uniform(0, 4) * self.noise(size, 8, 3)
        world = torch.einsum("ij,jxyz->ixyz", turn, at) + centre.view(3, 1, 1, 1) + bend
        return world / self.spacing

    @staticmethod
    def read(volume: Tensor, where: Tensor, beyond: float) -> Tensor:
        """The nearest voxels of a volume, int64 of a whole-numbered one; `beyond` outside of it."""
        index = where.round().long()
        last = torch.tensor(volume.shape).view(3, 1, 1, 1) - 1
        outside = ((index < 0) | (index > last)).any(dim=0)
        index = index.clamp(min=0).minimum(last)
        place = (index[0] * volume.shape[1] + index[1]) * volume.shape[2] + index[2]
        found = volume.reshape(-1)[place]
        found = found if found.is_floating_point() else found.long()
        found[outside] = beyond
        return found

    def _rotation(self) -> Tensor:
        """Up to 8 degrees about x and y, 12 about z; a patient in a hundred lies on the belly or the side."""
        a, b = (math.radians(self.uniform(-8, 8)) for _ in range(2))
        c = math.radians(self.uniform(-12, 12))
        if self.chance(0.02):
            c += math.radians((90, 180, 270)[self.whole(0, 2)])
        about_x = torch.tensor([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
        about_y = torch.tensor([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
        about_z = torch.tensor([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
        return about_z @ about_y @ about_x

    def shapes(self, size: Sequence[int]) -> Tensor:
        """Blobs of tissue codes, half of the time in a round body with air around it."""
        count = self.whole(4, 20)
        out = (self.noise(size, self.uniform(4, 14), count) + 0.5 * self.noise(size, 20, count)).argmax(dim=0)
        known = torch.tensor([int(t) for t in Tissue])
        codes = known[torch.randint(0, len(known), (count,), generator=self.random)][out]
        if self.chance(0.5):
            codes[self._ball(size, self.uniform(0.5, 1.1)) > 1] = int(T.AIR)
        return codes

    def _ball(self, size: Sequence[int], radius: float) -> Tensor:
        """Distance from a place near the middle over the radius, uneven."""
        axes = [torch.linspace(-1, 1, n) - self.uniform(-0.3, 0.3) for n in size]
        stretch = [self.uniform(0.7, 1.3) for _ in range(3)]
        squares = [(a / (s * radius)) ** 2 for a, s in zip(axes, stretch, strict=True)]
        far = (squares[0].view(-1, 1, 1) + squares[1].view(1, -1, 1) + squares[2].view(1, 1, -1)).sqrt()
        return far + 0.05 * self.noise(size, 4)[0]

    def _head(self, size: Sequence[int]) -> Tensor:
        """Skin, fat, skull and, inside, a brain of two soft tissues with fluid around and within; air in front."""
        far = self._ball(size, self.uniform(0.4, 0.9))
        codes = torch.full(tuple(size), int(T.AIR))
        grey, white = (int(_SOFT[self.whole(0, len(_SOFT) - 1)]) for _ in range(2))
        skull = self.uniform(0.82, 0.9)
        for limit, code in ((1.0, T.SKIN), (0.98, T.FAT_SUBCUTANEOUS), (skull + 0.06, T.RIB_CORTEX)):
            codes[far < limit] = int(code)
        folds = self.noise(size, 24)[0]
        codes[far < skull] = int(T.URINE)
        codes[(far < skull - 0.02) & (folds > -1.2)] = grey
        codes[(far < skull - 0.12) & (folds > -0.6)] = white
        codes[far < self.uniform(0.05, 0.2)] = int(T.URINE)
        hollow = (self.noise(size, 6)[0] > 0.9) & (far > 0.5) & (far < 0.98)
        hollow[:, size[1] // 2 :] = False
        codes[hollow] = int(T.AIR)
        return codes

    # -- how it looks ------------------------------------------------------------------------------------------------

    def paint(self, codes: Tensor, structure: Tensor | None = None, kind: str | None = None) -> tuple[Tensor, str]:
        """A picture of tissue codes (*size) in -1..1, and its modality.

        Args:
            structure: (*size) of unit deviation, what is uneven within the tissues and moves with them; None draws it.
            kind: of `KINDS`; None draws it.
        """
        if kind is None:
            drawn = self.uniform(0, 1)
            kind = KINDS[0 if drawn < CT_SHARE else 1 if drawn < CT_SHARE + MR_SHARE else 2]
        if kind == "ct":
            return self.ct(codes, structure=structure), "ct"
        return self._mr(codes, self._echo() if kind == "echo" else self._any(), structure), "mr"

    def ct(self, codes: Tensor, patient: PatientContrast | None = None, structure: Tensor | None = None) -> Tensor:
        """A CT of tissue codes in a drawn phase, or between two, of a patient, in the window -200 to 200 HU."""
        patient = patient or sample_contrast(self.numpy)
        first, second = (_PHASES[self.whole(0, 3)] for _ in range(2))
        share = self.uniform(0, 1) if self.chance(0.4) else 0.0
        values = (1 - share) * tissue_values(first, self.numpy, patient)
        values += share * tissue_values(second, self.numpy, patient)
        hu = torch.from_numpy(values).float()
        soft = (hu > -200) & (hu < 300)
        hu = hu + soft * self.uniform(0, 12) * torch.randn(256, generator=self.random)
        image = self._scanned(codes, hu, torch.from_numpy(TEXTURE.sd), self.uniform(0.2, 0.9), structure)
        grain = self.grain(codes.shape)
        if self.chance(0.6):  # filtered back projection: grains of more than one voxel
            grain = ff.smooth(grain[None, None], self.uniform(0.3, 0.8))[0, 0]
            grain = grain / grain.std()
        image = image + math.exp(self.uniform(math.log(3), math.log(34))) * grain
        if self.chance(0.15):
            image = image + self._streaks(codes)
        image = image * (1 + 0.02 * self.uniform(-1, 1)) + self.uniform(-8, 8)
        return normalise(image, WINDOW)

    def _streaks(self, codes: Tensor) -> Tensor:
        """Bright and dark lines from one place in the plane, as of metal."""
        x, y = (torch.arange(n) - self.uniform(0, n) for n in codes.shape[:2])
        angle = torch.atan2(y[None], x[:, None])
        lines = torch.sin(self.whole(6, 24) * angle + self.uniform(0, 6)) * torch.sin(self.whole(3, 9) * angle)
        fade = torch.exp(-torch.hypot(x[:, None], y[None]) / self.uniform(20, 60))
        along = torch.exp(-(((torch.arange(codes.shape[2]) - self.uniform(0, codes.shape[2])) / 6) ** 2))
        return self.uniform(40, 160) * (lines * fade)[..., None] * along

    def _echo(self) -> Tensor:
        """Spin-echo signals (256,) with drawn times; fat suppressed or contrast agent given now and then."""
        repetition, echo = (math.exp(self.uniform(math.log(a), math.log(b))) for a, b in ((150, 4500), (4, 120)))
        t1, t2 = (np.maximum(column(name), 1) for name in ("t1", "t2"))
        jitter = np.exp(0.2 * self.numpy.standard_normal((3, 256)))
        values = column("density") * jitter[2] * (1 - np.exp(-repetition / (t1 * jitter[0])))
        signal = torch.from_numpy(values * np.exp(-echo / (t2 * jitter[1]))).float()
        if self.chance(0.35):
            signal[_FAT] *= self.uniform(0.05, 0.4)
        if self.chance(0.4):
            signal *= 1 + torch.from_numpy(column(_PHASES[self.whole(1, 3)])).clamp(0, 300) / self.uniform(80, 300)
        return signal / signal.max().clamp(min=1e-3)

    def _any(self) -> Tensor:
        """Random grey values (256,); half of the time from a few levels, so that neighbours look alike."""
        grey = torch.rand(256, generator=self.random)
        if self.chance(0.5):
            levels = self.whole(3, 6)
            grey = (grey * levels).round() / levels + 0.03 * torch.randn(256, generator=self.random)
        if self.chance(0.7):
            grey[[T.AIR, T.LUNG, T.BOWEL_GAS, T.STOMACH_GAS, T.RECTUM_GAS]] *= 0.1
        return grey

    def _mr(self, codes: Tensor, values: Tensor, structure: Tensor | None) -> Tensor:
        rough = torch.from_numpy(TEXTURE.sd).clamp(2, 40) / 250 * (values + 0.1)
        image = self._scanned(codes, values, rough, self.uniform(0.2, 1.0), structure)
        image = image * torch.exp(self.uniform(0, 0.35) * self.noise(codes.shape, 2)[0])
        noise = self.uniform(0.005, 0.07) * float(values.max())
        image = torch.hypot(image + noise * self.grain(codes.shape), noise * self.grain(codes.shape))
        image = normalise(image, None) if float(image.std()) > 0 else torch.full_like(image, -1.0)
        return ((image + 1) / 2) ** math.exp(self.uniform(-0.4, 0.4)) * 2 - 1 if self.chance(0.4) else image

    def _scanned(self, codes: Tensor, values: Tensor, sd: Tensor, blur: float, structure: Tensor | None) -> Tensor:
        """Values and texture of the tissues, strange blobs, blur and thick slices."""
        if structure is None:
            structure = 0.6 * self.grain(codes.shape) + self.noise(codes.shape, max(codes.shape) / 3.0)[0]
        image = values[codes] + (self.uniform(0.2, 1.3) * sd)[codes] * structure
        if self.chance(0.3):
            spread = float(values[codes].std())
            for _ in range(self.whole(1, 3)):
                image = image + self.uniform(-0.5, 0.8) * spread * (self._spot(codes.shape) & (codes > 0))
        image = ff.smooth(image[None, None], blur)
        if self.chance(0.3):
            thick = [*codes.shape[:2], max(4, codes.shape[2] // self.whole(2, 3))]
            image = F.interpolate(F.interpolate(image, size=thick, mode="area"), size=codes.shape, mode="trilinear")
        return image[0, 0]

    def _spot(self, size: Sequence[int]) -> Tensor:
        """A small uneven ball somewhere."""
        axes = [torch.arange(n) - self.uniform(0, n) for n in size]
        radius = self.uniform(2, 10)
        far = torch.sqrt(axes[0].view(-1, 1, 1) ** 2 + axes[1].view(1, -1, 1) ** 2 + axes[2].view(1, 1, -1) ** 2)
        return far + self.noise(size, 12)[0] * 0.3 * radius < radius


def class_table(structures: Sequence[str], values: Mapping[str, int], also: Mapping[str, str]) -> Tensor:
    """Class 1, 2, ... of each label value, (256,) int64; 0 elsewhere.

    Args:
        structures: names of the classes.
        values: name -> label value.
        also: other names -> the structure that they count to.

    Raises:
        ValueError: they are to count to something that is no structure.
    """
    for other in also.values():
        if other not in structures:
            raise ValueError(f"{other!r} is not in the structures {', '.join(structures)}")
    table = torch.zeros(256, dtype=torch.long)
    for name, value in values.items():
        name = also.get(name, name)
        if name in structures:
            table[value] = structures.index(name) + 1
    return table
