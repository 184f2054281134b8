"""Instance optimisation: the displacement of one pair, from what a system found, on the pair itself.

The field is a uniform cubic B-spline whose control points come closer from level to level. Each level moves them until
the images are alike (`control_points.py`), under a penalty on roughness. What is alike is chosen from the pair:

    lncc      intensities less their local mean, over their local standard deviation: the local cross-correlation of
              two such images is the mean of their product (Avants et al. 2008, with the windows of each image its own)
    mind      MIND-SSC or another descriptor that looks alike in every modality (Heinrich et al. 2013)
    mixture   both, channel by channel
    mi        mutual information (Mattes et al. 2003)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field as ff
from jssr.core import kernels
from jssr.core.bspline import ControlGrid
from jssr.core.every_voxel import on_grid, turned
from jssr.core.grid import Grid
from jssr.core.precision import full_precision
from jssr.core.transform import Displacement
from jssr.losses.descriptors import descriptor_of
from jssr.losses.features import FeatureDistance, Information, Rows
from jssr.losses.mind import described, mind_ssc_rows
from jssr.preprocessing.prepare import PreparedImage, PreparedPair
from jssr.registration.choice import CLEARLY, Choice, choose
from jssr.registration.control_points import Lattices, Terms, apart, optimise, without_folds
from jssr.registration.model import Model
from jssr.registration.relation import are_related, local_contrast
from jssr.registration.rigid_parts import RigidParts
from jssr.registration.settings import OptimisationSettings, Similarity
from jssr.systems.base import Alignment

MOST_VOXELS = 2_000_000
LONGEST = 2.0
"""A voxel is at most this many times longer along one axis than along another."""
FEWEST = 16
"""An axis along which averaging would leave fewer voxels is not averaged, and neither are the others."""
CONTRAST = 3.0
"""Weight of the squared difference of local contrasts against that of the 12 channels of MIND-SSC."""
OUTLIER = 2.0
"""Distance of features that counts half (`FeatureDistance`)."""
FAR, LITTLE = 0.55, 0.85
"""A search between unrelated intensities is led by noise where self-similarities stay further apart than FAR, and
further than LITTLE of what they are without it. Tuning pairs, apart and that share: CT and MR of legs 0.65 to 0.76
(0.82 to 0.93), which end at 4.6, 3.3 and 4.4 mm from the rigid state and at 5.4, 4.1 and 5.8 mm from the search's where
the share is above 0.85, at 4.8 and 3.9 mm where it is below; T1 and T2 0.24 (0.70); phantoms in CT and T1 0.4 (0.9)."""
WORSE = 0.03
"""A field under which the scans are less alike by this part, against none, is not taken as the start."""
ROUNDING = 1e-3
"""A distance of features that is rounding, of images that are the same."""
LOST = (
    "The system's field made the scans less alike than no field does; the optimisation started without it. Was a "
    "network trained on such scans?"
)


def optimisation_grid(grid: Grid, scan: Grid) -> Grid:
    """The grid to optimise on: the working grid's extent, along each axis as fine as the fixed scan or as the working
    grid, whichever is finer, as far as `MOST_VOXELS` allow.

    On a scan's own voxels of 3 and 4 mm self-similarities reach too far: with the working grid's voxels two tuning CT
    under known maps end at 0.66 and 0.72 mm and not at 0.88 and 0.91, a phantom in CT and T1 at 2.2 and not at 3.3.
    """
    if grid.ndim == 2:
        return grid  # which is as fine as the recipe wants it
    turned = np.abs(np.linalg.inv(scan.direction) @ grid.direction)
    own = np.minimum(scan.spacing[turned.argmax(axis=0)], grid.spacing)
    extent = np.array(grid.shape) * grid.spacing
    step = max(float(own.min()), float((extent.prod() / MOST_VOXELS) ** (1 / 3)))
    for _ in range(3):  # longer voxels along an axis leave more of them to the others
        spacing = np.clip(own, step, LONGEST * step)
        step = max(float(own.min()), step * float((extent / spacing).prod() / MOST_VOXELS) ** (1 / 2))
    found = grid.respaced(np.clip(own, step, LONGEST * step))
    return grid if found.same_as(grid) else found


@dataclass(frozen=True)
class Found:
    """What the optimisation found: the field, warnings, the similarity that it compared, whether organs could slide, mm
    between the control points of the last level, and how many levels were kept of how many."""

    field: Displacement
    warnings: tuple[str, ...]
    similarity: Similarity
    sliding: bool
    spacing: float
    kept: int
    levels: int


@full_precision
def refine_pair(
    model: Model,
    pair: PreparedPair,
    alignment: Alignment,
    steps: int,
    on_step: Callable[[int], None] | None = None,
    settings: OptimisationSettings | None = None,
) -> Found:
    """Continue from a system's field by `steps` steps a level on the pair itself.

    Where that field makes the scans clearly less alike than no field does (a network at a loss with a modality it was
    not trained on), it starts from none. A level is kept where points that it did not look at are more alike than
    before; else the state before it stands.

    Args:
        pair: with `finer` scans, unless the working grid is fine enough.
        alignment: what the system made of the pair, on the CPU.
        on_step: called with the number of each step, over all levels.
        settings: what the user asks for; None takes the defaults.
    """
    settings = settings or OptimisationSettings()
    work, start = _begun(model, pair, alignment, settings)
    chosen = work.chosen
    parts = work.parts(pair)
    field, kept, step = start.to(model.device), 0, -1

    def stepped() -> None:
        nonlocal step
        step += 1
        if on_step is not None:
            on_step(step)

    with torch.no_grad():
        for level, (factor, pool) in enumerate(chosen.levels):
            terms = work.terms(pool)
            control_grid = work.control_grid(factor)
            lattices = Lattices(terms.body)
            if level == 0:
                field, warnings = work.trusted(terms, lattices, field)
            before, now = field, work.unlike(terms, lattices, field)
            control = control_grid.fit(field)
            for _ in range(1 + (chosen.again if level == 0 else 0)):
                control = optimise(
                    control, control_grid, terms, steps, chosen.smoothness, chosen.sliding, lattices, on_step=stepped
                )
                least, now = now, work.of_control(terms, lattices, control_grid, control)
                if now < least:
                    field = control_grid.dense(control)
                if now >= (1 - CLEARLY) * least:
                    break
            kept += field is not before
            if parts is not None:
                more = steps if level == len(chosen.levels) - 1 else 0
                field = work.around(parts, field, control_grid, terms, lattices, more)
            del terms
        field, later = work.settled(field.cpu(), parts)
    told, levels = (*warnings, *later), len(chosen.levels)
    how = chosen.similarity, chosen.sliding, chosen.spacing
    return Found(Displacement(field[0], work.fixed.grid), told, *how, kept, levels)


def _begun(
    model: Model, pair: PreparedPair, alignment: Alignment, settings: OptimisationSettings
) -> tuple[_Work, Tensor]:
    """The pair on the grid of optimisation, what is compared of it, and the field (mm) to begin with."""
    fixed, moving = pair.finer or (
        PreparedImage(pair.fixed, pair.fixed_mask, pair.grid, pair.fixed_limits),
        PreparedImage(pair.moving, pair.moving_mask, pair.grid, pair.moving_limits),
    )
    start = turned(on_grid(alignment.displacement[0], pair.grid, fixed.grid)[None], pair.grid, fixed.grid)
    related = are_related(fixed, moving, start)
    chosen = choose(pair, related, model.recipe.network.system, min(fixed.grid.spacing.tolist()), settings)
    work = _Work(model, fixed, moving, settings, chosen)
    return work, start * work.size


class _Work:
    """A pair on the grid of optimisation."""

    def __init__(
        self, model: Model, fixed: PreparedImage, moving: PreparedImage, settings: OptimisationSettings, chosen: Choice
    ) -> None:
        self.model, self.fixed, self.moving = model, fixed, moving
        self.settings, self.chosen = settings, chosen
        self.voxel = tuple(fixed.grid.spacing.tolist())
        self.size = torch.tensor(self.voxel).view(1, -1, *[1] * len(self.voxel))
        self._last: Terms | None = None

    def control_grid(self, factor: float) -> ControlGrid:
        """The control points of a level."""
        spacing = factor * self.chosen.spacing
        return ControlGrid(self.fixed.grid.shape, tuple(max(1.0, spacing / v) for v in self.voxel))

    def terms(self, pool: int) -> Terms:
        """What is compared on a level whose voxels are averages of `pool` voxels along each axis. Where it is what the
        level before compared, it is not made anew."""
        pool = pool if min(self.fixed.grid.shape) >= pool * FEWEST else 1
        if self._last is None or self._last.pool != pool:
            self._last = None  # before the next one takes its room
            self._last = self._terms(pool)
        return self._last

    def _terms(self, pool: int) -> Terms:
        device = self.model.device
        images = [
            tuple(t if pool == 1 else ff.pooled(t, pool) for t in (one.image, one.mask))
            for one in (self.fixed, self.moving)
        ]
        (fixed, fixed_mask), (moving, moving_mask) = images
        if self.chosen.similarity == "mi":
            information: Information | None = Information(moving.to(device), fixed.to(device))
            features = None
        else:
            information = None
            two = (self._features(moving, moving_mask), self._features(fixed, fixed_mask))
            features = FeatureDistance(two[0].to(device), two[1].to(device), OUTLIER)
        body = (fixed_mask * described(fixed) > 0.5).float().to(device)
        return Terms(body, Rows(moving_mask.to(device)), self.voxel, features, information, pool)

    def _features(self, image: Tensor, mask: Tensor) -> Tensor:
        """What is compared of an image point by point, (*spatial, C) in half precision."""
        contrast = None
        if self.chosen.similarity in ("lncc", "mixture"):
            contrast = local_contrast(image, mask, self.chosen.window) * CONTRAST**0.5
        describe = descriptor_of(self.model.recipe.inference.descriptor)
        alike = self.chosen.similarity in ("mind", "mixture")
        if alike and describe.key == "mind-ssc" and kernels.usable(image):
            rows = torch.zeros(*image.shape[2:], 2 * kernels.LANES, dtype=torch.float16)
            mind_ssc_rows(image, rows, 1.0)
            if contrast is not None:
                rows[..., 12] = contrast[0, 0]
            return rows
        found = [] if contrast is None else [contrast.half()]
        if alike:
            described_by = describe(image)
            # Against the smoothness every descriptor counts as the 12 channels of MIND-SSC do.
            found.append((described_by * (12 / described_by.shape[1]) ** 0.5).half())
        every = torch.cat(found, dim=1)[0].movedim(0, -1)
        return F.pad(every, (0, -every.shape[-1] % kernels.LANES)) if kernels.usable(image) else every.contiguous()

    def parts(self, pair: PreparedPair) -> RigidParts | None:
        """The parts that stay rigid, if any."""
        if self.settings.rigid_parts is None or not self.settings.n_rigid:
            return None
        return RigidParts(self.settings.rigid_parts, self.fixed.grid, pair.transform, pair.initial)

    def settled(self, field: Tensor, parts: RigidParts | None) -> tuple[Tensor, tuple[str, ...]]:
        """What is given back of a dense field (mm): in voxels, without folds, with rigid parts; and warnings.

        What slides along a wall does not fold there, so that sliding loses nothing by it.
        """
        self._last = None
        field = without_folds(field / self.size)
        if parts is None:
            return field, ()
        field, told = parts.settled(field * self.size, self.moving.mask)
        return field / self.size, told

    def around(
        self, parts: RigidParts, field: Tensor, grid: ControlGrid, terms: Terms, lattices: Lattices, steps: int
    ) -> Tensor:
        """A dense field (mm) with rigid parts in it, and `steps` more steps of what is around them."""
        held = parts.held(field.cpu(), self.moving.mask).to(field.device)
        if steps:
            how = self.chosen.smoothness, self.chosen.sliding
            control = optimise(grid.fit(field), grid, terms, steps, *how, lattices, held=held)
            field = grid.dense(control)
        return held.on(field)

    def trusted(self, terms: Terms, lattices: Lattices, field: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """A system's dense field (mm), or none where it cannot be believed; and warnings."""
        found, none = self.unlike(terms, lattices, field), self.unlike(terms, lattices)
        if found > none + WORSE * abs(none) + ROUNDING:
            return torch.zeros_like(field), (LOST,)
        noise = self.chosen.doubtful and self.chosen.similarity == "mind" and found > FAR and found > LITTLE * none
        return (torch.zeros_like(field) if noise else field), ()

    def unlike(self, terms: Terms, lattices: Lattices, field: Tensor | None = None) -> float:
        """How unlike the scans are under a dense field (mm), or under none, at points that no step looks at."""
        points = lattices.unseen()
        axes = points.positions(terms.pool)
        n = len(axes)
        here = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
        u = torch.zeros(1, n, *points.shape, device=here.device) if field is None else ff.sample(field, here)
        return float(apart(terms, points, u).value)

    def of_control(self, terms: Terms, lattices: Lattices, grid: ControlGrid, control: Tensor) -> float:
        """`unlike` under the field of control points."""
        points = lattices.unseen()
        return float(apart(terms, points, grid.read(control, points.positions(terms.pool))).value)
