"""Cohorts, pairs, preparation and the phantom."""
