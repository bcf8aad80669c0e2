"""Protocols of the field, sans-I/O: bytes to values and back."""
