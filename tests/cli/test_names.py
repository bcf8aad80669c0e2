from uuid import UUID

import pytest

from meterplex.cli.names import SpokenNames

ACCOUNT = UUID("01a1fbf1-820f-74d5-9551-789e25a54a4f")
METER = UUID("01a1fbf1-820f-74d5-9551-789e25a54a50")
STRANGER = UUID("01a1fbf1-820f-74d5-9551-789e25a54a51")
NAMES = SpokenNames({str(ACCOUNT): "A-7", str(METER): "m1"})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(ACCOUNT, "A-7", id="identifier"),
        pytest.param(f"receivable:{ACCOUNT}/rent", "receivable:A-7/rent", id="within text"),
        pytest.param(f"{METER} of {ACCOUNT}", "m1 of A-7", id="two"),
        pytest.param(STRANGER, str(STRANGER), id="not known"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_known_identifiers_are_said_by_name(value: object, said: str) -> None:
    assert NAMES.said(value) == said


def test_fields_are_said_as_people_say_them() -> None:
    fields = {
        "account": str(ACCOUNT),
        "amount_units": 600_0000,
        "binding": None,
        "meters": [str(STRANGER), str(METER)],
        "debt_consented": True,
    }
    assert dict(NAMES.rows(fields)) == {
        "account": "A-7",
        "amount": "600.0000",
        "binding": "",
        "meters": f"{STRANGER}, m1",
        "debt_consented": "True",
    }
