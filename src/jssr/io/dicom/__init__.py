"""DICOM in and out. Importing any module of it needs the extra `dicom`."""

from __future__ import annotations

from jssr.errors import requires

requires("dicom", "pydicom", "highdicom", "dicomanonymizer")
