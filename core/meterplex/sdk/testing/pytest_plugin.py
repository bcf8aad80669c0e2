"""Loaded by every pytest of an environment with meterplex: it must import fast and do little."""

import pytest

pytest.register_assert_rewrite(
    *(
        f"meterplex.sdk.testing.{module}"
        for module in (
            "credit",
            "history",
            "meter_settings",
            "reading",
            "supply",
            "twins",
        )
    )
)
