"""Addresses carry passwords; what people, files and servers see never does."""

import re
from urllib.parse import unquote

_QUERY = r"([?&][\w-]*(?:password|passwd|pwd|token|secret|key)[\w-]*=)[^&\s'\"]+"


def holds_secret(address: str) -> bool:
    """Returns whether an address has a password in it: beside the user, or in the query; or a token, as the user of a
    web server.
    """
    return bool(re.search(r"://[^@]*:[^@]*@|^https?://[^/@]+@", address) or re.search(_QUERY, address, re.IGNORECASE))


def shown_address(address: str) -> str:
    """Returns an address without user, password and query; a SQLite file's as it is."""
    head, separator, rest = address.partition("://")
    if not separator or head == "sqlite":
        return address
    return f"{head}{separator}{rest.rpartition('@')[2].partition('?')[0]}"


def without_secrets(text: str, *addresses: str) -> str:
    """Returns a text in which no user and password of these addresses stand, nor of any other address in it."""
    for address in addresses:
        rest = address.partition("://")[2]
        credentials = rest.rpartition("@")[0]
        password = credentials.partition(":")[2]
        for secret in {credentials, password, unquote(password)}:
            if len(secret) > 2:
                text = text.replace(secret, "***")
    text = re.sub(r"://(?:[^/\s@]+|[^\s@]*:[^\s@]*)@", "://***@", text)
    return re.sub(_QUERY, r"\1***", text, flags=re.IGNORECASE)


def first_line(error: BaseException, *addresses: str) -> str:
    """Returns the first line of what an error says, without secrets; its kind where it says nothing."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    return without_secrets(said[0] if said else type(error).__name__, *addresses)
