"""Rules that an estate as a whole must keep, however it came to be changed."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Final, TypeVar

Key = TypeVar("Key", bound=Hashable)
Thing = TypeVar("Thing")


NUMBER_DIGITS_MIN: Final = 8
"""Fewer digits than these are not taken for the end of a longer number. Own choice."""


def plain_number(text: str | None) -> str | None:
    """Return a meter number without what makers and installers write differently."""
    if text is None:
        return None
    return text.strip().lstrip("0").upper() or None


def is_same_number(wanted: str, came: str) -> bool:
    """Whether two plain numbers are one: meters show the end of what is printed on them.

    An Acrel meter tells 12 digits; the number on its plate may have 14.
    """
    return wanted == came or (len(came) >= NUMBER_DIGITS_MIN and wanted.endswith(came))


def is_other_meter(serial: str, told: str | None) -> bool:
    """Whether a device tells a number, and it is another one than that of the meter here."""
    wanted, came = plain_number(serial), plain_number(told)
    return wanted is not None and came is not None and not is_same_number(wanted, came)


def shared_places(
    placed: Iterable[tuple[Key, Thing]],
) -> dict[Key, tuple[Thing, ...]]:
    """Return the places that more than one thing claims, each with its things in their order.

    A place is an address on a bus, a line, a usage point: whatever holds one thing only.
    """
    by_place: defaultdict[Key, list[Thing]] = defaultdict(list)
    for place, thing in placed:
        by_place[place].append(thing)
    return {place: tuple(things) for place, things in by_place.items() if len(things) > 1}


def parent_cycles(parents: Mapping[Key, Key | None]) -> tuple[tuple[Key, ...], ...]:
    """Return the rings in a tree of parents, each once, from its first member in order on.

    Args:
        parents: the parent of each member; None for a root. Unknown parents count as roots.
    """
    settled: set[Key] = set()
    rings: list[tuple[Key, ...]] = []
    for start in parents:
        trail: dict[Key, None] = {}
        member: Key | None = start
        while member is not None and member not in settled and member not in trail:
            trail[member] = None
            member = parents.get(member)
        if member is not None and member in trail:
            way = list(trail)
            rings.append(tuple(way[way.index(member) :]))
        settled.update(trail)
    return tuple(rings)
