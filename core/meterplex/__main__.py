"""``python -m meterplex``."""

from meterplex.cli import main

main()
