"""Plugins that misbehave outside a driver's rules; each module is one, see :mod:`.planting`."""
