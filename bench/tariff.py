"""Tariffs: the engine against the exact oracle, in speed and to the ledger unit.

Speed is measured where it matters, over whole load profiles, with both sides rating the same
meters; agreement where it is hard, over random tariffs and use full of edges.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from statistics import median
from zoneinfo import ZoneInfo

import numpy as np
from tests.domain.tariff_cases import corrected, differences, random_case, random_tariff
from tests.domain.tariff_oracle import Oracle

from bench.figures import Figure
from meterplex.domain.tariff import Interval, Rater, Usage
from meterplex.services.tariffs.files import read_tariff

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
ZONE = ZoneInfo("Asia/Shanghai")
HALF_HOUR_S = 1800
SITE_METERS = 1000
ORACLE_METERS = 5
TRIALS = 3
CASES = 1_000_000
CASES_PER_TARIFF = 1000


def profile(start: datetime, end: datetime, seed: int) -> Usage:
    """Half-hours of a shop, up to 5 kWh each."""
    starts = np.arange(int(start.timestamp()), int(end.timestamp()), HALF_HOUR_S)
    steps = np.random.default_rng(seed).integers(0, 5000, len(starts))
    return Usage(starts, starts + HALF_HOUR_S, steps, decimals=3)


def intervals(usage: Usage) -> list[Interval]:
    rows = zip(usage.starts.tolist(), usage.ends.tolist(), usage.steps.tolist(), strict=True)
    return [
        Interval(
            datetime.fromtimestamp(start, ZONE),
            datetime.fromtimestamp(end, ZONE),
            Decimal(steps).scaleb(-usage.decimals),
        )
        for start, end, steps in rows
    ]


def seconds(work: Callable[[], object]) -> float:
    """CPU time of one process: what else the machine does is not counted."""
    start = time.process_time()
    work()
    return time.process_time() - start


def disagreements(seed: int) -> int:
    """Rate random cases of one random tariff both ways; every tenth is corrected afterwards."""
    random = Random(seed)
    tariff = random_tariff(random)
    cases = [random_case(random) for _ in range(CASES_PER_TARIFF)]
    cases[::10] = [corrected(random, case) for case in cases[::10]]
    ratings = Rater(tariff).rate_many([case.usage for case in cases])
    oracle = Oracle(tariff)
    return sum(
        bool(differences(rating, oracle.rate(case.intervals, case.service, case.opening)))
        for rating, case in zip(ratings, cases, strict=True)
    )


def run() -> list[Figure]:
    shop = read_tariff(EXAMPLES / "tariff.toml")
    july, august = datetime(2026, 7, 1, tzinfo=ZONE), datetime(2026, 8, 1, tzinfo=ZONE)
    year = profile(july, july.replace(year=2027), seed=0)
    site = [profile(july, august, seed) for seed in range(SITE_METERS)]
    few = [intervals(usage) for usage in site[:ORACLE_METERS]]

    year_s = median(seconds(lambda: Rater(shop).rate(year)) for _ in range(TRIALS))
    site_s = median(seconds(lambda: Rater(shop).rate_many(site)) for _ in range(TRIALS))
    oracle_s = median(
        seconds(lambda: [Oracle(shop).rate(rows) for rows in few]) for _ in range(TRIALS)
    )
    ratio = (oracle_s / ORACLE_METERS) / (site_s / SITE_METERS)
    same = not any(
        differences(rating, Oracle(shop).rate(rows))
        for rating, rows in zip(Rater(shop).rate_many(site[:ORACLE_METERS]), few, strict=True)
    )
    with ProcessPoolExecutor() as pool:
        wrong = sum(pool.map(disagreements, range(CASES // CASES_PER_TARIFF)))
    return [
        Figure("tariff: one meter-year of half-hours", year_s * 1000, "ms", at_most=50),
        Figure("tariff: site month, 1,000 meters", site_s * 1000, "ms", at_most=500),
        Figure(
            "tariff: engine against oracle",
            ratio,
            "x",
            at_least=30,
            detail=f"a meter-month {site_s / SITE_METERS * 1e6:.0f} us, oracle "
            f"{oracle_s / ORACLE_METERS * 1e3:.0f} ms, {'equal' if same else 'NOT EQUAL'}",
        ),
        Figure(
            "tariff: random cases that differ by a ledger unit",
            wrong,
            "cases",
            at_most=0,
            detail=f"of {CASES:,}",
        ),
    ]
