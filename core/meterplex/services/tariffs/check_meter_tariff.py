"""Whether a meter that counts credit down itself can charge by a tariff."""

from meterplex.domain.tariff import TariffError, TariffVersion
from meterplex.services.books.errors import MeterUnfitError
from meterplex.services.tariffs.meter_terms import meter_terms


def check_meter_tariff(tariff: TariffVersion, field: str = "tariff") -> None:
    """See that a sound tariff can be held by a meter (prepayment-protocol 4.8).

    Args:
        field: name of the caller's argument, for the error.

    Raises:
        MeterUnfitError: with everything that a meter cannot hold.
    """
    try:
        meter_terms(tariff)
    except TariffError as error:
        told = "; ".join(str(fault) for fault in error.faults)
        raise MeterUnfitError(field, f"{tariff.id}: {told}") from error
