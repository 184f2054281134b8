"""One function per published result."""
