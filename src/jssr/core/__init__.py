"""Geometry of the patient: grids, fields, volumes, points and transforms (torch and numpy only)."""
