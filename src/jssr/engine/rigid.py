"""Rigid pre-alignment under the name of the engine; `data.prepare` needs it too, so it lives in `data.rigid`."""

from __future__ import annotations

from jssr.data.rigid import OverlapError, RigidResult, overlap, rigid_align

__all__ = ["OverlapError", "RigidResult", "overlap", "rigid_align"]
