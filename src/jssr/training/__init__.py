"""Training of any system from a recipe. Importing any module of it needs the extra `train`."""

from __future__ import annotations

from jssr.errors import requires

requires("train", "lightning_fabric", "tensorboard")
