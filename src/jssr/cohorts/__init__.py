"""Cohorts checked, prepared, and given paired ground truth."""
