"""Does not import."""

raise RuntimeError("no licence file")
