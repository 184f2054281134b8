"""The phantom: abdominal studies with exact truth, made from a seed."""
