"""The built-in tools: the time and a calculator."""

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any, Final

from openai_proxy.nearest import nearest
from openai_proxy.tools.calculator import MAX_LENGTH, CalculatorError, calculate
from openai_proxy.tools.handler import Handler, ToolFailure

_TIME: Final = {
    "type": "function",
    "function": {
        "name": "get_current_time",
        "description": "The current date, time and weekday.",
        "parameters": {
            "type": "object",
            "properties": {
                "timezone": {
                    "type": "string",
                    "description": "IANA time zone, e.g. Europe/Berlin. Default: the local time zone.",
                }
            },
        },
    },
}

_CALCULATOR: Final = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": (
            "Calculates an arithmetic expression exactly. Operators + - * / // % ** ^ (power) and functions such as "
            "sqrt, sin, log, factorial, min, max, round; constants pi and e."
        ),
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string", "description": "For example: (17 + 4) * sqrt(2)"}},
            "required": ["expression"],
        },
    },
}


def get_current_time(timezone: str | None = None) -> str:
    """The time in `timezone` (an IANA name; None, "" or "local": the machine's) as ISO 8601 in seconds, with weekday.

    Raises ToolFailure with the nearest names if the zone does not exist.
    """
    if not timezone or timezone.strip().lower() == "local":
        now = datetime.now().astimezone()
        zone = now.tzname() or "local"
    else:
        zone = timezone.strip()
        now = datetime.now(_zone(zone))
    return f"{now.isoformat(timespec='seconds')} ({now:%A}, {zone})"


def _zone(name: str) -> Any:
    # zoneinfo costs 3 ms and some memory, and may never be needed
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; "../x" or NUL; a directory such as "Europe"
        raise ToolFailure(f"There is no time zone {name[:60]!r}.{_suggestion(name)} Use an IANA name.") from None


def _suggestion(name: str) -> str:
    """The names most similar to `name`: by the whole name, or by the city alone."""
    from zoneinfo import available_timezones

    wanted = name[:60].lower().replace(" ", "_")
    zones = sorted(available_timezones())
    cities = [z for z in zones if z.rpartition("/")[2].lower() == wanted.rpartition("/")[2]]
    if not cities:
        cities = nearest(wanted, zones, 3)
    return f" Did you mean {' or '.join(cities[:3])}?" if cities else ""


def _run_time(arguments: dict[str, Any]) -> str | Awaitable[str]:
    """Run without a thread if the zone is known: most templates need the time, and a thread costs ten times as much.

    The names most similar to an unknown zone are looked up off the loop, because that reads the whole zone directory.
    """
    zone = arguments.get("timezone")
    if zone is not None and not isinstance(zone, str):
        raise ToolFailure("timezone must be a string such as Europe/Berlin.")
    return get_current_time(zone) if _is_known(zone) else asyncio.to_thread(get_current_time, zone)


def _is_known(zone: str | None) -> bool:
    if not zone or zone.strip().lower() == "local":
        return True
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone.strip())
    except (KeyError, ValueError, OSError):
        return False
    return True


def _run_calculator(arguments: dict[str, Any]) -> str:
    expression = arguments.get("expression")
    if isinstance(expression, int | float) and not isinstance(expression, bool):
        expression = repr(expression) if abs(expression) < 10**MAX_LENGTH else "9" * (MAX_LENGTH + 1)
    if not isinstance(expression, str):
        raise ToolFailure("expression must be a string such as 2 + 2.")
    try:
        return calculate(expression)
    except CalculatorError as error:
        raise ToolFailure(str(error)) from None


BUILTIN: Final[Mapping[str, Handler]] = {
    "calculator": Handler("calculator", _CALCULATOR, _run_calculator, is_async=False),
    "get_current_time": Handler("get_current_time", _TIME, _run_time, is_async=True),
}
