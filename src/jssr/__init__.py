"""Joint synthesis, segmentation and registration of one patient's scans."""

from __future__ import annotations

__version__ = "0.1.0"
