"""Where the blocks of a meter are that both prepaid models share, in registers (DBG)."""

from typing import Final

from meterplex.protocols.modbus.blocks import Block

_READ_HOLDING: Final = 3

SNAPSHOT: Final = Block(_READ_HOLDING, 0x0200, 48)
ACCOUNT_SETTINGS: Final = Block(_READ_HOLDING, 0x0400, 25)

VENDOR_FUNCTION: Final = 0x20
"""The only vendor function of this plugin; 98, 99, AA and AB are the factory's."""
SALE_START: Final = 0x0100
ACCOUNT_START: Final = 0x0200
CLOCK_START: Final = 0x0354
