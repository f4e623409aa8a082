"""No part of a password is said, whatever characters it has; what has none is said as it is."""

import re
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from qrlora_search.values.secrets import first_line, shown_address, without_secrets

AWKWARD = st.text(st.sampled_from("abcdefgh0123456789@/:?#&=%+$\\'\" \t().,;[]"), min_size=1, max_size=20)
PASSWORDS = AWKWARD | st.text(min_size=1, max_size=20)
USERS = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
SCHEMES = st.sampled_from(["postgresql", "postgresql+psycopg", "http", "https", "mysql"])


def survivors(said: str, password: str) -> list[str]:
    """Return the parts of a password, longer than two characters, that a text says; none of what stands around it."""
    around = "http://***@W/W " * 2
    parts = {password[at : at + 3] for at in range(len(password) - 2)}
    return sorted(part for part in parts if part in said and part not in around)


def ambiguous(password: str) -> bool:
    """Return whether a text with this password reads as one without: HOST:PORT and prose, or two addresses."""
    port = re.match(r"(\d{1,5})?([\s'\"`<>,;()\]}/?#.:]|$)", password) and re.search(r"[\s'\"`<>]", password)
    return bool(port) or bool(re.search(r"[\s'\"`(<\[{,;=|][A-Za-z][\w+.-]*://", password))


@given(SCHEMES, PASSWORDS)
@example("postgresql", "sw0rd@f1sh/x")
@example("postgresql", "sword fish")
@example("http", 'it\'s "quoted" @ home')
def test_no_part_of_a_password_in_an_address_survives(scheme, password):
    assume(not ambiguous(password))
    for before, after in (("", ""), ("X: ", " Y"), ("'", "' Y")):
        said = without_secrets(f"{before}{scheme}://U:{password}@W/W{after}")
        assert said == f"{before}{scheme}://***@W/W{after}"


@given(SCHEMES, PASSWORDS, st.sampled_from(["{}", "X '{}' Y", 'no host "{}"', "X {}"]))
@example("postgresql", "12 abc def", "{}")
def test_nothing_of_an_address_that_is_known_survives_in_any_form(scheme, password, frame):
    address = f"{scheme}://U:{password}@W/W"
    for form in (address, password, quote(password, safe=""), repr(address)):
        assert survivors(without_secrets(frame.format("{}").replace("{}", form), address), password) == []


@given(PASSWORDS, SCHEMES)
@example("sw0rd@f1sh/x", "postgresql")
def test_a_part_that_a_driver_takes_for_the_host_is_hidden(password, scheme):
    address = f"{scheme}://U:{password}@W/W"
    for part in re.split(r"[@/:]", password):
        said = first_line(OSError(f"<{part}>"), address)
        assert survivors(said, part.strip()) == []


@given(
    st.lists(st.tuples(SCHEMES, USERS, st.from_regex(r"[a-z0-9@/:?#]{3,12}", fullmatch=True)), min_size=1, max_size=4)
)
def test_each_of_several_addresses_keeps_its_place(addresses):
    text = " and ".join(f"{scheme}://{user}:{word}@H{place}/W" for place, (scheme, user, word) in enumerate(addresses))
    shown = " and ".join(f"{scheme}://***@H{place}/W" for place, (scheme, _, _) in enumerate(addresses))
    assert without_secrets(text) == shown


PLAIN = st.sampled_from(
    [
        "http://127.0.0.1:5000/#/experiments/1", "http://h:5000", "https://h/x?a=b", "sqlite:////tmp/a@b/mlflow.db",
        "postgresql://h:5432/d", "http://[::1]:5000/x", "https://h/@scope/x", "bob@example.org", "a@b", "12:30",
        "refused;", "http://h:", "(http://h:5000)", "'http://h:5000/x'", "http://h.", "no://", "10.0.0.1:6379",
    ]
)  # fmt: skip


@given(st.lists(PLAIN, max_size=8).map(" ".join))
@settings(max_examples=300)
def test_a_text_without_passwords_stays_as_it_is(text):
    assert without_secrets(text) == text


@given(st.text(st.characters(exclude_characters="@")))
def test_a_text_without_an_at_and_a_query_stays_as_it_is(text):
    assume("=" not in text)
    assert without_secrets(text) == text


@given(st.text(max_size=60))
def test_what_was_hidden_stays_hidden(text):
    assert without_secrets(without_secrets(text)) == without_secrets(text)


@given(SCHEMES, PASSWORDS)
def test_an_address_is_shown_without_its_password(scheme, password):
    assert survivors(shown_address(f"{scheme}://U:{password}@W/W"), password) == []


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://h/d?password=abc@def", "postgresql://***"),
        ("postgresql://h:5432/d?user=u&password=abc", "postgresql://h:5432/d"),
        ("postgresql://u:sw0rd@f1sh/x@h/d", "postgresql://h/d"),
    ],
)
def test_an_address_with_a_password_in_its_query_is_shown_without(address, shown):
    assert shown_address(address) == shown
