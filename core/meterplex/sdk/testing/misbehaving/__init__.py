"""What the kit and the core are tested against: everything that a plugin may do wrong."""
