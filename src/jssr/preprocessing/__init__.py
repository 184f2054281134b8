"""From a scan as it came to what a system is given."""
