"""Tariffs as files and published versions; trials, back-tests and downloads to meters."""
