"""What follows from a committed fact: the outbox, notices, plugins that listen."""
