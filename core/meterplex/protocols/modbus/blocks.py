"""Which registers to read together: the fewest exchanges that cover what is wanted."""

from collections.abc import Iterable
from dataclasses import dataclass

from meterplex.protocols.modbus.pdu import READ_REGISTERS_MAX


@dataclass(frozen=True, slots=True, order=True)
class Field:
    """Registers that hold one value and must be read in one exchange.

    Attributes:
        function: 3 (holding) or 4 (input).
        address: of the first register, from 0.
        words: number of registers.
    """

    function: int
    address: int
    words: int

    @property
    def end(self) -> int:
        """Address after the last register."""
        return self.address + self.words


@dataclass(frozen=True, slots=True)
class Block:
    """One read: ``count`` registers from ``start`` with ``function``."""

    function: int
    start: int
    count: int

    @property
    def end(self) -> int:
        """Address after the last register."""
        return self.start + self.count

    def covers(self, field: Field) -> bool:
        """Whether the whole field is in this block."""
        return (
            field.function == self.function
            and self.start <= field.address
            and field.end <= self.end
        )


def plan_blocks(
    fields: Iterable[Field], *, max_registers: int = READ_REGISTERS_MAX, max_gap: int = 0
) -> tuple[Block, ...]:
    """Cover every field with the fewest blocks, in order of function and address.

    Args:
        fields: in any order; may overlap or repeat.
        max_registers: longest block.
        max_gap: how many registers that nobody asked for may be read through between two fields.

    Raises:
        ValueError: a field is longer than ``max_registers``.
    """
    blocks: list[Block] = []
    for field in sorted(set(fields)):
        if not 1 <= field.words <= max_registers:
            raise ValueError(f"{field} does not fit a block of {max_registers} registers")
        last = blocks[-1] if blocks else None
        if (
            last is not None
            and last.function == field.function
            and field.address - last.end <= max_gap
            and field.end - last.start <= max_registers
        ):
            # Taking a field into the last block whenever it fits is optimal: fields are sorted
            # by address, so a block that began later could only reach further.
            blocks[-1] = Block(last.function, last.start, max(last.end, field.end) - last.start)
        else:
            blocks.append(Block(field.function, field.address, field.words))
    return tuple(blocks)
