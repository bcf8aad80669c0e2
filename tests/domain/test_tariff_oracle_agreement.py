"""The engine and the exact oracle agree to the ledger unit; a million cases are in ``bench``."""

from random import Random

import pytest
from tests.domain.tariff_cases import corrected, differences, random_case, random_tariff
from tests.domain.tariff_oracle import Oracle

from meterplex.domain.tariff import Rater

TARIFFS = 80
CASES = 250


@pytest.mark.parametrize("seed", range(TARIFFS))
def test_engine_equals_oracle_on_random_cases(seed: int) -> None:
    random = Random(seed)
    tariff = random_tariff(random)
    cases = [random_case(random) for _ in range(CASES)]
    cases[::10] = [corrected(random, case) for case in cases[::10]]
    oracle = Oracle(tariff)
    ratings = Rater(tariff).rate_many([case.usage for case in cases])
    for case, rating in zip(cases, ratings, strict=True):
        assert not differences(rating, oracle.rate(case.intervals, case.service, case.opening)), (
            case
        )
