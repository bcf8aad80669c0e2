from datetime import UTC, datetime, timedelta
from random import Random
from uuid import RFC_4122

import pytest

from meterplex.simulator.identifiers import IdentifierSource

# RFC 9562 appendix A.6: 017F22E2-79B0-7CC3-98C4-DC0C0C07398F was made at this time.
RFC_EXAMPLE_AT = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)


class FixedRandom(Random):
    def getrandbits(self, k: int) -> int:
        assert k == 74
        return 0xCC3 << 62 | 0x18C4DC0C0C07398F


def test_example_of_the_standard_is_made_again() -> None:
    made = IdentifierSource(FixedRandom()).new(RFC_EXAMPLE_AT)
    assert str(made) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_version_and_variant_are_those_of_the_standard() -> None:
    source = IdentifierSource()
    for _ in range(100):
        made = source.new(RFC_EXAMPLE_AT)
        assert (made.version, made.variant) == (7, RFC_4122)


def test_identifiers_are_in_order_of_time() -> None:
    source = IdentifierSource(Random(1))
    made = [source.new(RFC_EXAMPLE_AT + n * timedelta(milliseconds=1)) for n in range(1000)]
    assert made == sorted(made)


def test_same_seed_makes_the_same_identifiers() -> None:
    one, other = IdentifierSource(Random(5)), IdentifierSource(Random(5))
    assert [one.new(RFC_EXAMPLE_AT) for _ in range(3)] == [
        other.new(RFC_EXAMPLE_AT) for _ in range(3)
    ]


def test_identifiers_of_one_instant_differ() -> None:
    source = IdentifierSource()
    assert len({source.new(RFC_EXAMPLE_AT) for _ in range(1000)}) == 1000


def test_time_before_1970_is_refused() -> None:
    with pytest.raises(ValueError, match="int is out of range"):
        IdentifierSource().new(datetime(1969, 12, 31, tzinfo=UTC))
