"""What workers do with the patients of tests: small, and told by the patient's notes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from jssr.errors import ImageError
from jssr.io.patients import Patient


def patients_of(folder: Path, count: int, **acts: str) -> list[Patient]:
    """Patients p0, p1 ... with one file each; `p1="kill"` is what one of them does."""
    found = []
    for k in range(count):
        file = folder / f"p{k}.txt"
        file.write_text(f"scan {k}", encoding="utf-8")
        act = acts.get(f"p{k}", "")
        found.append(Patient(f"p{k}", f"line {k}", {"venous": str(file)}, notes={"act": act} if act else {}))
    return found


def act(patient: Patient, home: Path) -> list[dict[str, object]]:
    """Write two files, with what the patient's act adds."""
    text = Path(patient.images["venous"]).read_text(encoding="utf-8")
    (home / "first.txt").write_text(f"{text}, once", encoding="utf-8")
    doing = patient.notes.get("act", "")
    if doing == "damaged":
        raise ImageError(f"{patient.id}: is damaged")
    if doing == "bug":
        raise KeyError("a bug")
    if doing == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if doing == "memory":
        held = [bytearray(b"1") * 2**20 for _ in range(1500)]
        time.sleep(5)
        del held
    if doing == "large":
        (home / "large").write_bytes(b"1" * 3_000_000)
    if doing.startswith("slow"):
        time.sleep(float(doing.removeprefix("slow")))
    (home / "deep").mkdir()
    (home / "deep" / "second.txt").write_text(f"{text}, twice", encoding="utf-8")
    return [{"scan": "venous", "verdict": "PASS", "folds_percent": 0.0}]
