"""Training of any system from a recipe."""
