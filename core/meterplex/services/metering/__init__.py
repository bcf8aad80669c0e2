"""Readings, states of devices, and commands to them."""
