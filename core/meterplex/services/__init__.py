"""Use cases, one verb each: they take a unit of work and ports, and hold the transaction."""
