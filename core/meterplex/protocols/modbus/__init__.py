"""Modbus RTU and Modbus TCP, sans-I/O: request and reply PDUs, framing, matching, line timing."""
