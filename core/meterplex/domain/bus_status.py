"""How a bus keeps its promises: what health answers, metrics and the live table show."""

from dataclasses import dataclass

from meterplex.domain.estate import Channel


@dataclass(frozen=True, slots=True)
class BusStatus:
    """One bus now. Counts are since start-up.

    Attributes:
        site: code of its site.
        meters: all on this bus; ``lost`` of them do not answer.
        late: live meters whose last good reading is older than was promised.
        oldest_age_s: age of the last good reading of the worst live meter; None before the first.
        run_s: how long the last reading run took; None before the first.
        fault: why the channel is down; empty while it is up.
    """

    site: str
    channel: Channel
    meters: int
    lost: int
    late: int
    oldest_age_s: float | None
    run_s: float | None
    fault: str
    exchanges: int
    timeouts: int
    stray_bytes: int

    @property
    def live(self) -> int:
        """Meters that answer."""
        return self.meters - self.lost
