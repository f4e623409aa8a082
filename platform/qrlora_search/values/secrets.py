"""Addresses carry passwords; what people, files and servers see never does."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

from qrlora_search.values.errors import UserError

_QUERY = r"([?&][\w-]*(?:password|passwd|pwd|token|secret|key)[\w-]*=)[^&\s'\"]+"

_NAMED = r"(?:password|passwd|pwd|pass|token|secret|key)\w*\s*="

_TOKEN = r"""(?:authorization\s*:\s*(?:(?:bearer|basic|token)\s+)?|\bbearer\s+|\b(?:api-?key|[\w-]*-token)\s*:\s*)
    (?!\$|bearer\b|basic\b|token\b)[\w.~+/=-]{6,}"""
"""A header that carries what lets one in, where that is no `$NAME`."""

_START = re.compile(r"""(?:^|(?<=[\s'"`(<\[{,;=|]))[A-Za-z][\w+.-]*://""")
"""Where an address begins: at the start of a word. In the middle of a word `://` is part of what stands there."""

_PLAIN = re.compile(
    r"""(?:\[[0-9a-fA-F:.%]*\]|[^\s/@:?\#'"`<>,;()]*)(?::\d{1,5})?(?=[/?\#\s'"`<>,;)\]}]|[.:](?:\s|$)|$)""", re.VERBOSE
)
"""A host, with a port or without, that is over as an address's is: no user and password."""

_WORD = re.compile(r"""[^\s'"`<>]*""")

HIDDEN = "***"


def expand(value: str, environment: Mapping[str, str], where: str) -> str:
    """Returns a value with every `$NAME` and `${NAME}` from the environment; raises UserError where one is not set."""

    def known(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if not environment.get(name):
            raise UserError(f"{where} {value!r}: the environment has no {name}; set it first")
        return environment[name]

    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", known, value)


def holds_secret(address: str) -> bool:
    """Returns whether an address has a password in it: beside the user, or in the query; or a token, as the user of a
    web server.
    """
    return bool(re.search(r"://[^@]*:[^@]*@|^https?://[^/@]+@", address) or re.search(_QUERY, address, re.IGNORECASE))


def holds_token(words: str) -> bool:
    """Returns whether words for a command hold a header with a token in it."""
    return bool(re.search(_TOKEN, words, re.IGNORECASE | re.VERBOSE))


def shown_address(address: str) -> str:
    """Returns an address without user, password and query; a SQLite file's as it is, and a word that is no address
    where nothing in it looks like a password.
    """
    head, separator, rest = address.partition("://")
    if not separator:
        return HIDDEN if "@" in address or re.search(_NAMED, address, re.IGNORECASE) else address
    if head == "sqlite":
        return address
    before, _, place = rest.rpartition("@")
    if re.search(_QUERY, before, re.IGNORECASE):  # whether the `@` is the query's or ends a password, nobody can tell
        return f"{head}{separator}{HIDDEN}"
    return f"{head}{separator}{re.split('[?#]', place)[0]}"


def without_secrets(text: str, *addresses: str) -> str:
    """Returns a text in which no user and password of these addresses stand, nor of any other address in it.

    Of these addresses the parts of a password are hidden, too, wherever they stand: what takes an address apart may say
    a part of it. In other addresses the password reaches to the last `@` before the next address, whatever stands
    between. But what follows a HOST:PORT and a blank is no password.
    """
    hidden = {secret for address in addresses for secret in _parts(address) if len(secret) > 2}
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return re.sub(_QUERY, rf"\1{HIDDEN}", _without_credentials(text), flags=re.IGNORECASE)


def _parts(address: str) -> Iterator[str]:
    """Yields what is secret of an address: user and password, the password, and its parts between separators."""
    credentials = address.partition("://")[2].rpartition("@")[0]
    password = credentials.partition(":")[2]
    queried = [unquote(one.group().partition("=")[2]) for one in re.finditer(_QUERY, address, re.IGNORECASE)]
    for secret in (credentials, password, unquote(password), *queried):
        yield from (secret, quote(secret, safe=""), repr(secret)[1:-1])
        if secret != credentials:
            for between in (r"[@/:]", r"[\s@/:?#&=\[\]]"):  # in addresses, and in the queries of some
                yield from (part.strip() for part in re.split(between, secret))


def _without_credentials(text: str) -> str:
    """Returns a text in whose addresses `***` stands for user and password."""
    found, done = [], 0
    starts = [one.end() for one in _START.finditer(text)]
    for place, start in enumerate(starts):
        if start < done or not _has_credentials(text, start):
            continue
        nexts = [*starts[place + 1 :], len(text)]
        last = next((at for at in (text.rfind("@", start, end) for end in nexts) if at >= 0), -1)
        if last >= 0:
            found += [text[done:start], HIDDEN]
            done = last
    return "".join([*found, text[done:]])


def _has_credentials(text: str, start: int) -> bool:
    """Returns whether an address whose `://` ends here goes on with user and password, as far as one can tell."""
    if text.startswith((f"{HIDDEN}@", "/"), start):
        return False
    if not _PLAIN.match(text, start):
        return True
    word = _WORD.match(text, start)
    return word is not None and ":" in word.group().rpartition("@")[0]


def first_line(error: BaseException, *addresses: str) -> str:
    """Returns the first line of what an error says, without secrets; its kind where it says nothing.

    Of one that holds a traceback as its text, as Ray Tune's do: what the first error of it says.
    """
    said = without_secrets(str(getattr(error, "orig", None) or error), *addresses).strip().splitlines()
    if said and said[0].startswith("Traceback (most recent call last)"):
        return next((line for line in said[1:] if line and not line[0].isspace()), said[0])
    return said[0] if said else type(error).__name__
