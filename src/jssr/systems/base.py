"""What every system is: named networks, lazy losses for each optimiser group, and one way to align a pair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from jssr.errors import ImageError

Terms = Mapping[str, Callable[[], Tensor]]
T = TypeVar("T")


@dataclass
class Batch:
    """What one training step sees. Images are (B, 1, *spatial) float32, normalised to -1..1.

    `moving` and `fixed` lie on one grid after rigid pre-alignment. Masks are 1 where the scan has data. `supervised` is
    a scan of another population with its `supervised_labels`, (B, 1, *spatial) int64 class indices. Label maps of the
    pairs themselves are None where no pair has them; `labelled` (B,) bool tells which have them both, the others' are
    zeros. `moving_like` looks as the fixed scan does and lies on the moving one, `fixed_like` the other way round.
    `truth` (B, n, *spatial) in voxels is the displacement that takes the moving scan to the fixed one, where the pair
    was made by a known one. `chance` (B, 2) holds two random numbers in 0..1 of each pair, for what a system does to
    some of them only: they belong to the pair, in whichever process it is.
    """

    moving: Tensor | None = None
    fixed: Tensor | None = None
    moving_mask: Tensor | None = None
    fixed_mask: Tensor | None = None
    moving_labels: Tensor | None = None
    fixed_labels: Tensor | None = None
    labelled: Tensor | None = None
    moving_like: Tensor | None = None
    fixed_like: Tensor | None = None
    truth: Tensor | None = None
    supervised: Tensor | None = None
    supervised_labels: Tensor | None = None
    chance: Tensor | None = None
    memo: dict[str, Any] = field(default_factory=dict)
    """Forward results shared by the optimiser groups of one step; the loop empties it when a network changes."""

    def kept(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, computed once and kept in the memo."""
        if key not in self.memo:
            self.memo[key] = make()
        found: T = self.memo[key]
        return found


@dataclass
class Alignment:
    """What a system makes of one pair, everything on the grid of the input, batch first.

    `displacement` (B, n, *spatial) is the displacement in voxels (jssr.core.field); the others are None where not made.
    Segmentations are class probabilities (B, K, *spatial), class 0 the background. `synthesised` lies where the moving
    image does, or on the fixed one already where it is `registered` (JRS-Net).
    """

    displacement: Tensor
    synthesised: Tensor | None = None
    moving_segmentation: Tensor | None = None
    fixed_segmentation: Tensor | None = None
    registered: bool = False


class System(nn.Module):
    """One paper. Its networks are attributes, and `networks` names those that can be trained and stored."""

    networks: tuple[str, ...] = ()
    critics: tuple[str, ...] = ()
    """Networks that only judge: nothing in a batch's memo is made by them, so their update leaves it valid."""
    outputs: Mapping[str, str] = {}
    """Which network makes what `align` returns, e.g. {"displacement": "Phi", "synthesised": "G", "segmentation": "S"}.
    The training monitor looks at an output only once its network has been trained."""

    starts_affine = False
    """Whether scans are aligned by an affine transform before, where one is better than the rigid one."""

    reads_structure = False
    """Whether `align` can also be told where the structure is in the fixed image (JRS-Net), as `fixed_structure`."""

    reads_masks = False
    """Whether `align` has a cost that masks of the user's restrict; it can then be told which of the scans alone has
    one, as `masked`. Others are given masks of where there is data."""

    def guide_of(self, network: str) -> object:
        """What a network is given besides images, None if nothing: its weights serve only where that is equal."""
        return None

    def check_patch(self, shape: Sequence[int]) -> None:
        """Raises ValueError where the system cannot be trained on patches of that shape."""

    def begin(self, terms: Collection[str]) -> None:
        """Called before training with all terms that a stage weighs: what they need is read, or found wanting, now."""

    @abstractmethod
    def losses(self, batch: Batch, group: str) -> Terms:
        """The terms that an optimiser group may minimise, each a function of nothing that computes it when called.

        Only the terms that the stage weighs are called, so a stage computes only what it trains. A term is the mean of
        what each sample of the batch gives by itself: then it is no matter how many processes share the batch.
        """

    def network(self, name: str) -> nn.Module:
        """A network that a term needs.

        Raises:
            ValueError: the system was built without it.
        """
        if name not in self.networks:
            raise ValueError(f"this term needs the network {name}, and the system has none")
        return self.get_submodule(name)

    def forget(self, batch: Batch, networks: Collection[str]) -> None:
        """Drop the shared results of `batch` that `networks`, whose weights have just changed, went into."""
        if not set(networks) <= set(self.critics):
            batch.memo.clear()

    @abstractmethod
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """Align a normalised pair (B, 1, *spatial) that lies on one grid."""

    def segment(self, image: Tensor) -> Tensor:
        """Class probabilities (B, K, *spatial) of a normalised image. Raises where the system has no segmentor."""
        raise NotImplementedError("it has no segmentor")

    def segment_moving(self, image: Tensor) -> Tensor:
        """The same of a scan of the moving modality, where the system tells the two apart."""
        return self.segment(image)

    def synthesise(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """The moving image in the fixed image's appearance. Raises where the system has no generator."""
        raise NotImplementedError(f"{type(self).__name__} has no generator")


@contextmanager
def large_enough(system: System, shape: Sequence[int], name: str) -> Iterator[None]:
    """Run networks on images of a shape.

    Raises:
        ImageError: they are so small that the coarsest features are one voxel, which torch does not normalise.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 spatial element" not in str(error):
            raise
        least = max((getattr(module, "multiple", 1) for module in system.modules()), default=1)
        raise ImageError(
            f"{name}: expected images of more than {least} voxels along an axis for its networks, got "
            f"{' x '.join(map(str, shape))}: use scans that share more of the body, or a smaller spacing"
        ) from error


def required(value: Tensor | None, what: str) -> Tensor:
    """The value of a batch; ValueError where it has none."""
    if value is None:
        raise ValueError(f"this stage needs {what}, and the batch has none")
    return value


def pair_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """x and y, the moving and the fixed image; ValueError where a batch has no pair."""
    return required(batch.moving, "a moving image"), required(batch.fixed, "a fixed image")


def named_tensors(system: System, networks: Collection[str]) -> dict[str, Tensor]:
    """Weights and buffers of some networks, by their name in the system ("G.conv.weight"); the tensors themselves, each
    under its first name."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in system.state_dict().items():
        if name.split(".", 1)[0] in networks and (value.numel() == 0 or value.data_ptr() not in seen):
            seen.add(value.data_ptr())
            found[name] = value
    return found
