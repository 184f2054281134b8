"""Network modules; sizes are arguments."""
