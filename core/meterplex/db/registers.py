"""Repository of the register types under which values are stored."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from meterplex.db import tables
from meterplex.db.errors import RegisterChangedError
from meterplex.db.repository import Repository
from meterplex.domain.registers import ObisCode, RegisterType, Unit


class Registers(Repository):
    """The register types of this installation, by their numbers; global to all organisations."""

    async def ensure(self, registers: Iterable[RegisterType]) -> Mapping[str, int]:
        """Return the numbers of all register types by slug, after adding what is missing.

        Raises:
            RegisterChangedError: one differs from what it was when first used.
        """
        wanted = {register.slug: register for register in registers}
        stored = await self.all()
        known = {register.slug: register for register in stored.values()}
        missing = [register for slug, register in wanted.items() if slug not in known]
        if missing:
            rows = [_to_row(register) for register in missing]
            await self._execute(self._insert_new(tables.register_type), rows)
            stored = await self.all()
            known = {register.slug: register for register in stored.values()}
        for slug, register in wanted.items():
            if register != known[slug]:
                raise RegisterChangedError(
                    f"register {slug}: stored as {known[slug]}, now given as {register}"
                )
        return {register.slug: number for number, register in stored.items()}

    async def all(self) -> Mapping[int, RegisterType]:
        """Return all register types by number."""
        rows = await self._rows(sa.select(tables.register_type))
        return {row["id"]: _from_row(row) for row in rows}


def _to_row(register: RegisterType) -> dict[str, Any]:
    return {
        "slug": register.slug,
        "obis": str(register.obis),
        "unit": register.unit.value,
        "resolution_exponent": register.resolution.adjusted(),
        "cumulative": register.cumulative,
    }


def _from_row(row: sa.RowMapping) -> RegisterType:
    return RegisterType(
        slug=row["slug"],
        obis=ObisCode.parse(row["obis"]),
        unit=Unit(row["unit"]),
        resolution=Decimal((0, (1,), row["resolution_exponent"])),
        cumulative=row["cumulative"],
    )
