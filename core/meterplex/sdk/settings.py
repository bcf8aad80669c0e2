"""Settings of meters and channels: what was given, completed by what the declaration says."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

from meterplex.sdk.errors import SettingsError
from meterplex.sdk.models import Setting


def complete_settings(
    declared: Iterable[Setting], given: Mapping[str, str], where: str
) -> dict[str, str]:
    """Return a text for every declared setting: the given one or its default.

    Args:
        declared: of the model or channel type.
        given: from the estate file, the command line or a URL.
        where: what the settings belong to, for the error.

    Raises:
        SettingsError: an unknown name, a text outside the choices, or one that must be given is
            missing.
    """
    by_name = {setting.name: setting for setting in declared}
    refuse_unknown(by_name, given, where)
    return {
        name: _text(setting, given.get(name, setting.default), where)
        for name, setting in by_name.items()
    }


def refuse_unknown(declared: Collection[str], given: Iterable[str], where: str) -> None:
    """Refuse a name that is not declared.

    Raises:
        SettingsError: names the first one, and the nearest that is.
    """
    for name in given:
        if name not in declared:
            near = get_close_matches(name, declared, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"known: {', '.join(declared) or 'none'}"
            )
            raise SettingsError(f"{where}: unknown setting {name!r}; {hint}")


def _text(setting: Setting, text: str | None, where: str) -> str:
    if text is None:
        raise SettingsError(f"{where}: setting {setting.name!r} must be given ({setting.help})")
    if setting.choices and text not in setting.choices:
        choices = ", ".join(setting.choices)
        raise SettingsError(
            f"{where}: setting {setting.name!r} is {text!r}, expected one of {choices}"
        )
    return text
