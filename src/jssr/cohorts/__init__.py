"""Cohorts checked, prepared, and paired with counterparts."""
