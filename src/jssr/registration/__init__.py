"""The life of one pair, from two scans to a result."""
