"""What is done of a cohort, as files: a folder and a manifest for each finished patient, a record for each that failed.

A patient's folder appears at once, by one rename, when all that belongs into it has been written. Its manifest says
what it was made of: inputs by content, task, options, weights, version. A run begun again reads the manifests.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from jssr.cohorts.store import read_settings
from jssr.errors import OutputError
from jssr.io.bids import subject_name
from jssr.io.files import check_output, make_folder, write_json
from jssr.io.patient_folders import RUN_LOG
from jssr.io.patients import Patient

MANIFEST = "manifest.json"
FAILURES = "failures"
LOG = RUN_LOG
LOCK = ".lock"
TEMPORARY = ".tmp-"
OLD = f"{TEMPORARY}old-"
State = Literal["done", "changed", "foreign", "missing", "failed", "unlucky"]
"""Of a patient. "foreign": what lies in its place is no result. "failed": its inputs or options are to blame, and
trying again gives the same; "unlucky": something else is (a worker that died, a full disk)."""


@dataclass(frozen=True)
class Results:
    """The results of a cohort in a folder.

    Attributes:
        out: the folder.
        settings: what they depend on besides the patient: task, options, weights, version.
        nested: patients lie in `sub-01`, or in `sub-01/ses-2`, as BIDS has it.
    """

    out: Path
    settings: Mapping[str, Any]
    nested: bool = False

    def folder(self, patient: Patient) -> Path:
        """Where a patient's results are when they are finished."""
        return self.out / (subject_name(patient.id).replace("_ses-", "/ses-") if self.nested else patient.name)

    def record(self, patient: Patient) -> Path:
        """Where it is written why a patient failed."""
        return self.out / FAILURES / f"{patient.name}.json"

    def state(self, patient: Patient) -> State:
        """Whether a patient is done, was done of other inputs or options, or failed."""
        home = self.folder(patient)
        found = read_manifest(home)
        if found:
            here = all((home / name).is_file() for name in found["files"])
            if here and self.same(found, patient):
                return "done"
            return "changed" if here else "missing"
        if is_foreign(home):
            return "foreign"
        failed = read_settings(self.record(patient))
        if not failed or not self.same(failed, patient):
            return "missing"
        return "failed" if failed.get("lasting") else "unlucky"

    def same(self, found: Mapping[str, Any], patient: Patient) -> bool:
        """Whether a record is of these settings and inputs. Files of the same size and time are taken for the same;
        of others the content is read."""
        inputs = found.get("inputs")
        if found.get("settings") != _plain(self.settings) or not isinstance(inputs, dict):
            return False
        return inputs.get("stamp") == patient.stamp() or inputs.get("content") == patient.digest()

    def done_by(self, run: str, patient: Patient) -> bool:
        """Whether a run has finished a patient."""
        return read_manifest(self.folder(patient)).get("run") == run

    def differs_in(self, patient: Patient) -> list[str]:
        """In what a finished result differs from what would be made now."""
        found = read_manifest(self.folder(patient)).get("settings", {})
        now = _plain(self.settings)
        words = [name for name in now if name != "options" and found.get(name) != now[name]]
        before, options = found.get("options") or {}, now.get("options", {})
        words += [name for name in sorted({*before, *options}) if before.get(name) != options.get(name)]
        return words or ["inputs"]

    def described(self, patient: Patient) -> dict[str, Any]:
        """What a patient's result is made of, for its manifest or the record of its failure."""
        inputs = {"stamp": patient.stamp(), "content": patient.digest(), "files": [str(p) for p in patient.files]}
        return {"patient": patient.id, "settings": _plain(self.settings), "inputs": inputs}

    def publish(
        self,
        made: Path,
        patient: Patient,
        described: Mapping[str, Any],
        result: Mapping[str, Any],
        anew: bool = False,
    ) -> bool:
        """Let a folder that is complete appear as the patient's; False where another worker was first.

        Args:
            made: a folder beside the results, on the same file system.
            described: as it was before the work: inputs that change meanwhile do not count as read.
            result: what the manifest also holds: the rows of the table, seconds.
            anew: also in place of an equal result.
        """
        files = sorted(str(p.relative_to(made)) for p in made.rglob("*") if p.is_file())
        manifest = {**described, "files": files, **result, "host": socket.gethostname(), "finished": now()}
        write_json(manifest, made / MANIFEST)
        home = self.folder(patient)
        make_folder(home.parent)
        before = read_manifest(home)
        same = bool(before) and all(before.get(key) == manifest[key] for key in ("settings", "inputs"))
        if same and not anew and all((home / name).is_file() for name in before["files"]):
            return False
        old = made.with_name(made.name.replace(TEMPORARY, OLD, 1))
        if home.exists():
            home.rename(old)
        made.rename(home)
        _remove(old)
        self.record(patient).unlink(missing_ok=True)
        return True

    def fail(self, patient: Patient, reason: str, lasting: bool) -> None:
        """Write why a patient failed; an earlier result of it stays where it is."""
        write_json({**self.described(patient), "reason": reason, "lasting": lasting, "at": now()}, self.record(patient))

    def rows(self, patient: Patient) -> list[dict[str, Any]]:
        """The rows of a finished patient."""
        return list(read_manifest(self.folder(patient)).get("rows", ()))

    def failure(self, patient: Patient) -> str | None:
        """Why a patient failed."""
        return read_settings(self.record(patient)).get("reason")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder of the results for this run; the system lets go of it however the process ends.

    Raises:
        OutputError: another run works in it, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    check_output(out)
    lock = FileLock(make_folder(out) / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(f"{out}: another run works in this folder: wait for its end, or choose another") from None
    except OSError as error:
        raise OutputError(f"{out}: this folder is not writable ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


def read_manifest(home: Path) -> dict[str, Any]:
    """What a patient's manifest says; empty where there is none, or it is damaged."""
    found = read_settings(home / MANIFEST)
    kinds = {"settings": dict, "inputs": dict, "files": list, "rows": list}
    whole = all(isinstance(found.get(key), kind) for key, kind in kinds.items())
    whole = whole and all(isinstance(row, dict) for row in found["rows"])
    return found if whole and isinstance(found["settings"].get("options", {}), dict) else {}


def is_foreign(home: Path) -> bool:
    """Whether a patient's place among the results holds something that is none."""
    if not home.is_dir():
        return home.exists() or home.is_symlink()
    return not (home / MANIFEST).is_file() and any(home.iterdir())


def sweep(results: Results) -> None:
    """Remove what a run that was killed had begun; a result that it was about to replace comes back."""
    for left in sorted(results.out.glob(f"{TEMPORARY}*")):
        with suppress(OSError):
            patient = read_manifest(left).get("patient") if left.name.startswith(OLD) else None
            home = results.folder(Patient(str(patient), "")) if patient else None
            if home is not None and not home.exists():
                left.rename(home)
            else:
                _remove(left)


def _remove(path: Path) -> None:
    """Remove a folder, a file or a link, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def note(out: Path, event: str, patient: str, run: str) -> None:
    """Add a line to the log: what happened to whom, when, where. One write, so that lines of several processes do
    not mix; a log that cannot be written stops nothing."""
    line = {
        "at": now(),
        "event": event,
        "patient": patient,
        "run": run,
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }
    with suppress(OSError):
        handle = os.open(out / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(handle, (json.dumps(line) + "\n").encode())
        finally:
            os.close(handle)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists."""
    return dict(json.loads(json.dumps(settings)))
