"""The load behind a twin: what its customer switches on, minute by minute.

Pure functions of a seed and the minute, in whole watts, so that a day lived in one step and in a
thousand gives the same energy, and a run can be repeated.
"""

from dataclasses import dataclass
from typing import Final

_HOURS: Final = (
    *(460, 400, 360, 350, 360, 450, 700, 960, 1060, 1100, 1150, 1230),
    *(1310, 1230, 1130, 1110, 1170, 1330, 1540, 1640, 1560, 1340, 1020, 1040),
)
"""Share of the mean load at each full hour of the local day, 1/1000; they average 1000."""

_WEEKDAYS: Final = (990, 985, 985, 990, 1010, 1040, 1000)
"""Monday to Sunday, 1/1000; they average 1000."""

_POWER_W_MAX: Final = 32_000
"""The power registers are signed 16-bit counts of 1 W (sheet section 4)."""


def _mix(seed: int, count: int) -> int:
    """Return 64 well-mixed bits of two numbers (the finaliser of splitmix64)."""
    value = seed * 0x9E3779B97F4A7C15 + count * 0xD1B54A32D192ED03 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ value >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return value ^ value >> 31


@dataclass(frozen=True, slots=True)
class LoadCurve:
    """A customer: a daily shape, a weekly one, and noise.

    Attributes:
        mean_w: mean power of all phases over a week.
        phases: 1 or 3.
    """

    mean_w: int
    seed: int
    phases: int

    def power_w(self, minute: int, weekday: int, minute_of_day: int) -> tuple[int, ...]:
        """Return the power that each phase wants in one minute.

        Args:
            minute: since 1970, picks the noise.
            weekday: local, 0 is Monday.
            minute_of_day: local.
        """
        hour, past = divmod(minute_of_day, 60)
        shape = (_HOURS[hour] * (60 - past) + _HOURS[(hour + 1) % 24] * past) // 60
        slow, fast = _mix(self.seed, minute // 15), _mix(self.seed + 1, minute)
        noise = 700 + slow % 601 + fast % 161 - 80
        total = self.mean_w * shape * _WEEKDAYS[weekday] * noise // 1_000_000_000
        total = min(total, _POWER_W_MAX)
        if self.phases == 1:
            return (total,)
        first = total * (300 + _mix(self.seed, 1) % 80 + fast % 20) // 1000
        second = total * (290 + _mix(self.seed, 2) % 60 + slow % 20) // 1000
        return first, second, total - first - second

    def voltage_tenths(self, minute: int, phase: int) -> int:
        """Return a phase's voltage in 1/10 V: 218.0 to 242.0."""
        slow = _mix(self.seed + 10 + phase, minute // 30) % 121
        fast = _mix(self.seed + 20 + phase, minute) % 121
        return 2180 + slow + fast

    def power_factor_permille(self, minute: int, phase: int) -> int:
        """Return a phase's power factor in 1/1000, inductive: 860 to 990."""
        return 860 + _mix(self.seed + 30 + phase, minute // 5) % 131
