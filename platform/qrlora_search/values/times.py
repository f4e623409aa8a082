"""Times as people write them."""

import math
import re

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_seconds(text: str, name: str) -> float:
    """Returns seconds from a time such as `90s`, `15m`, `1h30m` or `2h`. Raises ValueError that names the setting."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text.strip().lower())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip().lower():
        raise ValueError(f"{name} {text!r} is no time; write it like 90s, 15m, 2h or 1h30m")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < total < math.inf:
        fault = "leaves no time" if total <= 0 else "is no limit"
        raise ValueError(f"{name} {text!r} {fault}; use a time like 90s, 15m or 2h")
    return total
