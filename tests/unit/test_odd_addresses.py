"""Addresses that are written wrongly, and that a password must not get out of."""

import pytest

from qrlora_search.adapters.mlflow_sink.address import check_tracking
from qrlora_search.adapters.ray_engine.cluster import check_address
from qrlora_search.record.storage import VARIABLE, check_storage
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import holds_token, shown_address


@pytest.mark.parametrize(
    "address",
    ["postgresql://u:quux@zzq/frob@127.0.0.1:9/d", "postgresql://u/n:quuxfrob@127.0.0.1:9/d",
     "postgresql://u:quux/frob@127.0.0.1:9/d", "postgresql:/u:quuxfrob@127.0.0.1:9/d",
     "host=127.0.0.1 password=quuxfrob", "mysql://u:quuxfrob@127.0.0.1:9/d"],
)  # fmt: skip
def test_a_database_that_is_written_wrongly_is_refused_without_any_part_of_its_password(monkeypatch, address):
    monkeypatch.setenv(VARIABLE, address)
    with pytest.raises(UserError) as error:
        check_storage()
    assert not any(part in str(error.value) for part in ("quux", "frob", "zzq"))


@pytest.mark.parametrize(
    "address",
    ["postgresql:/alice:swordfish@h/d", "http:/alice:swordfish@h", "//alice:swordfish@h/d", "http:alice:swordfish@h",
     "host=h password=swordfish", "sqlite:alice:swordfish@h", "http://127.0.0.1:9/#pass=swordfish"],
)  # fmt: skip
def test_a_tracking_address_that_is_written_wrongly_is_refused_without_its_password(address):
    with pytest.raises(UserError) as error:
        check_tracking(address)
    assert "swordfish" not in str(error.value)
    assert "swordfish" not in shown_address(address)


@pytest.mark.parametrize("address", ["me:swordfish@h:6379:x", "host=h password=swordfish", "ray://me:swordfish@h:1"])
def test_a_cluster_that_is_written_wrongly_is_refused_without_its_password(address):
    with pytest.raises(UserError) as error:
        check_address(address)
    assert "swordfish" not in str(error.value)


@pytest.mark.parametrize(
    "address", ["auto", "10.0.0.1:6379", "runs/mlflow.db", "sqlite:////a@b/mlflow.db", "databricks"]
)
def test_what_holds_no_password_is_shown_as_it_is(address):
    assert shown_address(address) == address


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        ("Authorization: Bearer swordfish", True),
        ("authorization:swordfish", True),
        ("X-Auth-Token: swordfish", True),
        ("api-key: swordfish", True),
        ('curl -H "Authorization: Bearer $TOKEN" https://h', False),
        ("Authorization: $TOKEN", False),
        ("X-Auth-Token: ${TOKEN}", False),
        ("the sweep of the night", False),
    ],
)
def test_headers_that_let_one_in_are_known(words, holds):
    assert holds_token(words) == holds
