"""Recipes, training, checkpoints and inference."""
