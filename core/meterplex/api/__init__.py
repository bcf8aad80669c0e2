"""HTTP doors of the program."""
