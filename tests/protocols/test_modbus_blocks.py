from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.protocols.modbus.blocks import Block, Field, plan_blocks


@pytest.mark.parametrize(
    ("places", "max_registers", "max_gap", "blocks"),
    [
        pytest.param([], 125, 0, [], id="nothing"),
        pytest.param([(3, 0, 2)], 125, 0, [(3, 0, 2)], id="one"),
        pytest.param([(3, 2, 2), (3, 0, 2)], 125, 0, [(3, 0, 4)], id="neighbours-any-order"),
        pytest.param([(3, 0, 2), (3, 0, 2)], 125, 0, [(3, 0, 2)], id="twice-the-same"),
        pytest.param([(3, 0, 4), (3, 1, 1)], 125, 0, [(3, 0, 4)], id="one-inside-another"),
        pytest.param([(3, 0, 2), (3, 1, 2)], 125, 0, [(3, 0, 3)], id="overlapping"),
        pytest.param([(3, 0, 2), (3, 3, 1)], 125, 0, [(3, 0, 2), (3, 3, 1)], id="gap-not-allowed"),
        pytest.param([(3, 0, 2), (3, 3, 1)], 125, 1, [(3, 0, 4)], id="gap-allowed"),
        pytest.param([(3, 0, 2), (3, 4, 1)], 125, 1, [(3, 0, 2), (3, 4, 1)], id="gap-too-wide"),
        pytest.param([(3, 0, 2), (4, 2, 2)], 125, 9, [(3, 0, 2), (4, 2, 2)], id="two-functions"),
        pytest.param(
            [(3, 0, 2), (3, 2, 2), (3, 4, 2)], 5, 0, [(3, 0, 4), (3, 4, 2)], id="value-not-split"
        ),
        pytest.param([(3, 0, 125)], 125, 0, [(3, 0, 125)], id="longest"),
        pytest.param(
            [(3, 65534, 2), (3, 0, 1)], 125, 125, [(3, 0, 1), (3, 65534, 2)], id="both-ends"
        ),
    ],
)
def test_plan_has_the_fewest_blocks(
    places: list[tuple[int, int, int]],
    max_registers: int,
    max_gap: int,
    blocks: list[tuple[int, int, int]],
) -> None:
    planned = plan_blocks(
        [Field(*place) for place in places], max_registers=max_registers, max_gap=max_gap
    )
    assert list(planned) == [Block(*block) for block in blocks]


def test_value_longer_than_a_read_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit a block of 3 registers"):
        plan_blocks([Field(3, 0, 4)], max_registers=3)


FIELDS = st.lists(
    st.builds(Field, st.sampled_from([3, 4]), st.integers(0, 24), st.integers(1, 4)), max_size=6
)


@given(FIELDS, st.integers(4, 10), st.integers(0, 4))
def test_every_field_is_read_whole_and_no_fewer_reads_would_do(
    fields: list[Field], max_registers: int, max_gap: int
) -> None:
    blocks = plan_blocks(fields, max_registers=max_registers, max_gap=max_gap)
    for field in fields:
        assert any(block.covers(field) for block in blocks)
    for block in blocks:
        assert 1 <= block.count <= max_registers
    fewest = min(
        len(parts)
        for parts in _partitions(sorted(set(fields)))
        if all(_is_legal(part, max_registers, max_gap) for part in parts)
    )
    assert len(blocks) == fewest


def _partitions(fields: Sequence[Field]) -> Iterator[list[list[Field]]]:
    if not fields:
        yield []
        return
    for parts in _partitions(fields[1:]):
        yield [[fields[0]], *parts]
        for index, part in enumerate(parts):
            yield [*parts[:index], [fields[0], *part], *parts[index + 1 :]]


def _is_legal(part: Sequence[Field], max_registers: int, max_gap: int) -> bool:
    wanted = {address for field in part for address in range(field.address, field.end)}
    low, high = min(wanted), max(wanted)
    steps = sorted(wanted)
    gap = max((b - a - 1 for a, b in pairwise(steps)), default=0)
    one_function = len({field.function for field in part}) == 1
    return one_function and high - low < max_registers and gap <= max_gap
