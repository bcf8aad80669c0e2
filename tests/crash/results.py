"""What the kills of this session came to."""

WRITTEN: list[str] = []
"""Lines for the end of its report."""
