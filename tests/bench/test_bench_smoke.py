"""Benches run, on a small estate; what they measure there is not judged."""

import math
from collections.abc import Callable, Sequence

import pytest
from bench import bus_use, charges, control, cpu_per_read, freshness
from bench.figures import Figure

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "run",
    [
        lambda: bus_use.run(buses=1, meters=10, seconds=0.3, warm_up_s=0.2, trials=1),
        lambda: cpu_per_read.run(gateways=5, seconds=0.1, trials=1),
        lambda: control.run(buses=1, meters=8, commands=2, settle_s=0.5, trials=1),
        lambda: freshness.run(
            buses=1, meters=4, dead=1, settle_s=0.1, seconds=3, store_s=1, trials=1
        ),
        lambda: charges.run(meters=20, orm_meters=5, trials=1),
    ],
    ids=["bus_use", "cpu_per_read", "control", "freshness", "charges"],
)
def test_a_bench_gives_figures(run: Callable[[], Sequence[Figure]]) -> None:
    figures = run()
    assert figures
    assert all(math.isfinite(figure.value) and figure.value >= 0 for figure in figures)
    assert any(figure.value > 0 for figure in figures)
