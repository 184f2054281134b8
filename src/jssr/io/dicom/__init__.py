"""DICOM: the series of a folder, their voxels and place, and results as objects that other programs take."""

from jssr.io.dicom.read import read_series, series_at
from jssr.io.dicom.series import SeriesInfo, find_series, single_image

__all__ = ["SeriesInfo", "find_series", "read_series", "series_at", "single_image"]
