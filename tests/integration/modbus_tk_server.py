"""A Modbus server on modbus-tk that serves holding registers from a file.

Usage: ``modbus_tk_server.py tcp 127.0.0.1 PORT UNIT IMAGE`` or ``... rtu DEVICE BAUD UNIT IMAGE``.
IMAGE has lines "REGISTER VALUE". Neighbouring registers are one block; what is in none is answered
with exception 2. Prints "ready PORT" when it serves, ends with its standard input.
"""

import sys
from itertools import groupby
from pathlib import Path

import serial
from modbus_tk import defines, modbus_rtu, modbus_tcp


def load(path: str) -> dict[int, int]:
    lines = Path(path).read_text().splitlines()
    return {int(register, 0): int(value, 0) for register, value in map(str.split, lines)}


def main(how: str, place: str, number: str, unit: str, image: str) -> None:
    if how == "tcp":
        server = modbus_tcp.TcpServer(port=int(number), address=place)
    else:
        server = modbus_rtu.RtuServer(serial.Serial(place, int(number)))
    server.start()
    slave = server.add_slave(int(unit))
    for _, group in groupby(enumerate(sorted(load(image).items())), lambda at: at[1][0] - at[0]):
        block = [register for _, register in group]
        start = block[0][0]
        slave.add_block(f"block {start}", defines.HOLDING_REGISTERS, start, len(block))
        slave.set_values(f"block {start}", start, [value for _, value in block])
    print(f"ready {number}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
