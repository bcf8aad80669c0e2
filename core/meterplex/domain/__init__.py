"""Plain values and rules of metering: no I/O, no clock, no framework."""
