"""The form of the viewer's page: its fields become keywords of `jssr.register`, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from jssr.registration.presets import PresetName
from jssr.registration.settings import SIMILARITIES
from jssr.viewer.uploads import keep_scan, keep_transform

SYSTEMS = ("", "jssr", "discrete", "rigid")
BESIDE = ("fixed_mask", "moving_mask", "fixed_labels", "moving_labels")
"""Files that may come with the two scans, one each, as `register` names them."""
FIELDS = 8 + len(BESIDE)
"""The most fields that are not files."""
_WORDS = {
    "preset": get_args(PresetName),
    "similarity": SIMILARITIES,
    "initial": ("geometry", "centre"),
    "sliding": ("yes", "no"),
}


def options_of(form: FormData) -> dict[str, Any]:
    """The keywords of `register` that the form sets, files apart."""
    system, refine = _text(form, "system"), _text(form, "refine")
    if system not in SYSTEMS:
        raise HTTPException(400, f"no such system here: {system}")
    if refine and not (refine.isdigit() and int(refine) <= 500):
        raise HTTPException(400, "refine is a number of steps, 0 to 500")
    out: dict[str, Any] = {"system": system or None, "refine": int(refine) if refine else None}
    for name, known in _WORDS.items():
        word = _text(form, name)
        if word and word not in known:
            raise HTTPException(400, f"{name}: expected {', '.join(known)}, got {word}")
        if word:
            out[name] = word == "yes" if name == "sliding" else word
    for name in ("smoothness", "spacing"):
        if _text(form, name):
            out[name] = _above_0(name, _text(form, name))
    labels = [word.strip() for word in _text(form, "rigid_labels").split(",") if word.strip()]
    return out | ({"rigid_labels": labels} if labels else {})


async def files_of(form: FormData, folder: Path) -> dict[str, Any]:
    """What was sent beside the two scans, written to the job's folder: masks, label maps, a transform."""
    out: dict[str, Any] = {}
    for name in BESIDE:
        sent = _files(form, name)
        if sent:
            out[name] = await keep_scan(sent, folder, name)
    if _files(form, "transform"):
        out["initial"] = await keep_transform(_files(form, "transform"), folder)
    return out


def _files(form: FormData, name: str) -> list[UploadFile]:
    return [one for one in form.getlist(name) if not isinstance(one, str) and one.filename]


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


def _above_0(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise HTTPException(400, f"{name} is a number above 0")
    return value
