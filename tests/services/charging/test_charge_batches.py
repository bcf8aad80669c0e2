"""Batches of charges: some at once, each whole or not at all."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from meterplex.domain.estate import AccountId, BindingId
from meterplex.services.charging.charge_readings import ChargingOutcome, _run_batches
from meterplex.services.charging.charged_counters import Uncharged


class BatchError(Exception):
    """A batch could not be stored."""


BATCHES = [[AccountId(uuid4())] for _ in range(5)]


def outcome(account_ids: Sequence[AccountId]) -> ChargingOutcome:
    return ChargingOutcome(uncharged=(Uncharged(BindingId(account_ids[0]), ""),))


@pytest.mark.parametrize("at_once", [1, 2])
async def test_outcomes_come_in_the_order_of_the_batches(at_once: int) -> None:
    at_work = most = 0

    async def charge(account_ids: Sequence[AccountId]) -> ChargingOutcome:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        for _ in range(1 + 5 * (account_ids == BATCHES[0])):
            await asyncio.sleep(0)
        at_work -= 1
        return outcome(account_ids)

    assert await _run_batches(charge, BATCHES, at_once) == [outcome(each) for each in BATCHES]
    assert most == at_once


async def test_an_error_ends_the_others_and_is_the_error_of_the_call() -> None:
    ended = []

    async def charge(account_ids: Sequence[AccountId]) -> ChargingOutcome:
        if account_ids == BATCHES[1]:
            raise BatchError
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(account_ids)
        return outcome(account_ids)

    with pytest.raises(BatchError):
        await _run_batches(charge, BATCHES, 2)
    assert ended == [BATCHES[0]]


async def test_nothing_to_charge_is_no_outcome() -> None:
    async def charge(account_ids: Sequence[AccountId]) -> ChargingOutcome:
        raise BatchError

    assert await _run_batches(charge, [], 2) == []
