"""Measured promises: `python -m bench [name ...]`.

Each module with a function ``run() -> list[Figure]`` is a bench, named as the module.
"""
