"""The models of this plugin: two prepaid meters with a driver, the rest by profile alone."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.resources import files
from typing import Final

from meterplex.sdk import DeviceTwin, ExchangeSize, MeterModel
from meterplex.sdk.profiles import RegisterProfile, model_from_profile
from meterplex_acrel_dtsy import twin_settings
from meterplex_acrel_dtsy.driver import CAPABILITIES, AcrelDriver, AcrelVariant
from meterplex_acrel_dtsy.settings import SETTINGS
from meterplex_acrel_dtsy.twin import make_ddsy_twin, make_dtsy_twin

_PROFILES: Final = files("meterplex_acrel_dtsy") / "profiles"
_BY_PROFILE_ALONE: Final = ("acrel_adl300", "acrel_adw300", "acrel_dtsd1352c")
_SNAPSHOT_SIZE: Final = ExchangeSize(request=8, reply=101)

TwinFactory = Callable[[str, Mapping[str, str], int], DeviceTwin]


def dtsy1352() -> MeterModel:
    """Make the model of the three-phase meter."""
    variant = AcrelVariant(
        profile_of("acrel_dtsy1352"), phases=3, date_plan=0x0028, day_tables=(0x2000, 0x2015)
    )
    return _prepaid(variant, make_dtsy_twin)


def ddsy1352() -> MeterModel:
    """Make the model of the single-phase meter."""
    variant = AcrelVariant(
        profile_of("acrel_ddsy1352"), phases=1, date_plan=0x2000, day_tables=(0x2006, 0x201B)
    )
    return _prepaid(variant, make_ddsy_twin)


def relatives() -> tuple[MeterModel, ...]:
    """Make the models that their profile describes wholly."""
    return tuple(model_from_profile(profile_of(name)) for name in _BY_PROFILE_ALONE)


def _prepaid(variant: AcrelVariant, twin: TwinFactory) -> MeterModel:
    return replace(
        model_from_profile(variant.profile, twin=twin),
        driver=partial(AcrelDriver, variant),
        poll=(_SNAPSHOT_SIZE,),
        capabilities=CAPABILITIES,
        settings=SETTINGS,
        twin_settings=twin_settings.SETTINGS,
    )


def profile_of(model: str) -> RegisterProfile:
    """Load the profile of one of the plugin's models."""
    return RegisterProfile.load(_PROFILES / f"{model}.toml")
