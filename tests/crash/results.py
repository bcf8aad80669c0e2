"""What the kills came to."""

WRITTEN: list[str] = []
"""Lines for the end of its report."""
