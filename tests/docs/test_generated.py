"""Pages of the manual that are made from the code: ``python tests/docs/test_generated.py``."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from meterplex.sdk import hookspecs
from meterplex.sdk.testing.suite import MeterDriverSuite

MANUAL = Path(__file__).parents[2] / "docs" / "plugin-author"

CONFORMANCE_HEAD = """\
# The rules of a driver

`meterplex.sdk.testing` proves a driver in memory, without hardware: one check for each rule. Derive
a class from `MeterDriverSuite`, set its attributes, and run pytest.

| attribute | what it is | default |
|---|---|---|
| `model` | the `MeterModel` under test | must be set |
| `address`, `other_address` | two normal addresses; None where a bus has one device | 1, 2 |
| `settings` | of the driver | defaults of the model |
| `script` | the device as recorded frames; without it the model's twin is used | none |
| `twin_settings`, `seed` | of the twin; supply on, money in the wallet | none, 1 |
| `bad_addresses` | what `check_address` must refuse; add what your protocol cannot address | |
| `refuse(request)` | the device's *no* to a control frame; Modbus: `modbus_refusal(code)` | skips |
| `credit_amount`, `prices`, `limits`, `calendar`, `local_time` | what the checks write | |
| `busy_s_max` | how long a read may keep the processor | 0.05 s |

A check that does not apply (no such capability, no twin) skips and says why. A waiver is an
override of the check with the reason:

```python
def test_poll_is_as_declared(self) -> None:
    pytest.skip("waived: firmware 2.x answers one register more")
```

Recorded frames go into a script. `read_script` reads lines of spaced hex: `>` before a request, `<`
before its reply, `#` before a comment.

```python
class TestRecorded(MeterDriverSuite):
    model = EM1
    script = read_script(Path(__file__).with_name("em1.txt").read_text())
```

For tests of your own, `ScriptedTransport` and `TwinLink` are links like any other; their
`exchanges` and `control_frames` tell what was sent, and `meterplex.sdk.testing.links` can lose,
damage and delay what comes back.
"""

HOOKS_HEAD = """\
# Hook reference
"""


def paragraphs(docstring: str) -> str:
    """Return a docstring as Markdown: sections become bold words, roles and literals code."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.cleandoc(docstring)).replace("``", "`")
    text = re.sub(r"^(\w+):\n((?:    .*\n?|\n)+)", section, text, flags=re.MULTILINE)
    return text.strip()


def section(match: re.Match[str]) -> str:
    body = inspect.cleandoc(match[2])
    return f"**{match[1]}.** {body}\n\n"


def hooks() -> dict[str, Callable[..., object]]:
    return {
        name: spec
        for name, spec in vars(hookspecs).items()
        if name.startswith("meterplex_") and inspect.isfunction(spec)
    }


def render_hooks() -> str:
    parts = [HOOKS_HEAD + "\n" + paragraphs(hookspecs.__doc__ or "").partition("\n\n")[2]]
    for name, spec in hooks().items():
        signature = f"def {name}{inspect.signature(spec)}"
        signature = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", signature)
        parts.append(
            f"## `{name}`\n\n```python\n{signature}\n```\n\n{paragraphs(spec.__doc__ or '')}"
        )
    return "\n\n".join(parts) + "\n"


def render_conformance() -> str:
    parts = [CONFORMANCE_HEAD]
    for suite in MeterDriverSuite.__bases__:
        rows = [
            f"| `{name}` | {' '.join(paragraphs(check.__doc__ or '').split())} |"
            for name, check in vars(suite).items()
            if name.startswith("test_")
        ]
        title = paragraphs(suite.__doc__ or "").partition("\n\n")[0].rstrip(".")
        parts.append(f"## {title}\n\n| check | rule |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


PAGES = {"hooks.md": render_hooks, "conformance.md": render_conformance}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_what_the_code_says(name: str) -> None:
    page = MANUAL / name
    assert page.read_text() == PAGES[name](), "run: python tests/docs/test_generated.py"


if __name__ == "__main__":
    for page_name, render in PAGES.items():
        (MANUAL / page_name).write_text(render())
