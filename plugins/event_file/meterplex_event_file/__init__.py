"""meterplex plugin: account events as lines of a file, for other systems to pick up."""
