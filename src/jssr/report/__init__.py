"""Pictures, tables and self-contained pages of results."""
