"""What a user may see go wrong. Every message is one line: which file, what is wrong with it, what to do.

The command line prints the message without a traceback and exits with 1; from Python they are ordinary exceptions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec


class JssrError(Exception):
    """Base of all errors meant for users."""

    def __init__(self, message: str) -> None:
        # One line, whatever a library's message brought along.
        super().__init__(" ".join(str(message).split()))


class OptionError(JssrError, ValueError):
    """A value of an option that cannot be used."""


class ImageError(JssrError):
    """An image or label map that is missing, unreadable or not usable."""


class GeometryError(JssrError):
    """Images that are each fine but do not fit together: no overlap, another grid."""


class PointsError(JssrError):
    """A file of points that is missing or malformed."""


class TransformError(JssrError):
    """A transform file that is missing, unreadable or of a kind that cannot be used."""


class CohortError(JssrError):
    """A cohort file that is missing, malformed or contradicts itself."""


class RecipeError(JssrError):
    """An unknown recipe, an unknown key of one, or a value that does not fit."""


class CheckpointError(JssrError):
    """A checkpoint that is missing, corrupt or of another system."""


class TrainingError(JssrError):
    """Training that cannot go on: NaN, a collapsed network, no data for a stage."""


class Interrupted(JssrError):
    """Stopped by the user, in good order."""


class WorkerError(JssrError):
    """A worker process that ended before its work was done."""


class OutputError(JssrError):
    """An output that cannot be written; what was there before is untouched."""


class MissingExtraError(JssrError):
    """A feature whose packages are not installed: they come with an extra of `jssr`."""


def requires(extra: str, *modules: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        extra: as pyproject.toml names it: "train", "viewer", "dicom", "benchmark", "cohort", "phantom", "x5".
        modules: what will be imported.

    Raises:
        MissingExtraError: one is missing; the message holds the command that installs it.
    """
    for module in modules:
        found = None
        with suppress(ImportError, ValueError):
            found = find_spec(module)
        if found is None:
            command = f"pip install 'jssr[{extra}]' (in a clone: pip install '.[{extra}]')"
            raise MissingExtraError(f"{module} is not installed: {command}")


def check_options(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises TypeError for keywords that a function does not have."""
    known = list(known)
    for name in given:
        if name not in known:
            raise TypeError(f"unexpected option {name!r}{nearest(name, known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message that names the known word nearest to `word`, or all where none is near."""
    known = list(known)
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(known)}" if known else "; none is known here"
