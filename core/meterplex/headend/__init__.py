"""The head-end: channels, their one talker, the bus scheduler, and the delivery of commands."""
