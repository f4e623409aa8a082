"""Five fields of cron as other schedulers understand them."""

import re
from datetime import datetime

from cronsim import CronSim

from qrlora_search.values.errors import UserError

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_CRON_ALONE = r"#|(^|[\d,])L|\dW|^LW"


def calendar(cron: str) -> list[str]:
    """Returns systemd's calendar expressions for five fields of cron.

    Where day and weekday are both given, cron takes either, and systemd both: then there are two expressions. Raises
    UserError for what systemd does not know.
    """
    parsed = _parsed(cron, "systemd")
    _, minute, hour, day, month, weekday = parsed.parts
    clock = f"{_set(parsed.hours, hour)}:{_set(parsed.minutes, minute)}:00"
    months = _set(parsed.months, month)
    by_day = f"*-{months}-{_set(parsed.days, day)} {clock}"
    days = ",".join(_DAYS[number] for number in _weekdays(parsed))
    by_weekday = f"{days} *-{months}-* {clock}"
    if weekday.startswith("*") and len(_weekdays(parsed)) == 7:
        return [by_day]
    return [by_weekday] if day.startswith("*") and len(parsed.days) == 31 else [by_day, by_weekday]


def for_kubernetes(cron: str) -> str:
    """Returns five fields of cron as Kubernetes reads them: numbers alone, and Sunday is 0 there, not 7.

    Raises UserError for what it does not know, and where it takes either of day and weekday and cron both.
    """
    parsed = _parsed(cron, "Kubernetes")
    _, minute, hour, day, month, weekday = parsed.parts
    both = [one for one in (day, weekday) if one != "*"]
    if len(both) == 2 and any(one.startswith("*") for one in both):
        raise UserError(f"schedule.cron = {cron!r}: cron takes days that are both, Kubernetes either; give one of them")
    days = "*" if weekday == "*" else ",".join(map(str, _weekdays(parsed)))
    fields = [(parsed.minutes, minute), (parsed.hours, hour), (parsed.days, day), (parsed.months, month)]
    return " ".join([*(_set(values, field) for values, field in fields), days])


def _parsed(cron: str, form: str) -> CronSim:
    parsed = CronSim(cron, datetime(2026, 1, 1))  # noqa: DTZ001 - only its fields are read
    _, _, _, day, _, weekday = parsed.parts
    if re.search(_CRON_ALONE, f"{day} {weekday}") or "L" in day:
        raise UserError(f"schedule.cron = {cron!r}: {form} has no L, W or #; write the days out")
    return parsed


def _weekdays(parsed: CronSim) -> list[int]:
    """Returns the weekdays as numbers, Sunday as 0."""
    return sorted({int(str(one)) % 7 for one in parsed.weekdays})


def _set(values: set[int], field: str) -> str:
    return "*" if field == "*" else ",".join(map(str, sorted(values)))
