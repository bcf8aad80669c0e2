"""Charging: what readings cost."""
