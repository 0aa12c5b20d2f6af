"""The tenants file: what it may say, and that each thing wrong is said by file, table and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from omendb_ws.tenants.limits import FIELDS, Limits, TenantLimits, TenantsFileError

WHOLE = [name for name in FIELDS if name.startswith("max_")]
NUMBERS = [name for name in FIELDS if name not in WHOLE]
#: What no field takes.
WRONG = ["-1", "0", "true", "'many'", "[1]", "{a = 1}", "nan", "inf", "-inf", "1e300", "10" * 20]
#: What only numbers that need not be whole take.
BROKEN = ["1.5", "1.0", "1e3"]


def refusal(text: str, max_tenants: int = 1000) -> str:
    with pytest.raises(TenantsFileError) as caught:
        TenantLimits.parse(text, max_tenants, "tenants_file t.toml")
    return str(caught.value)


def test_a_tenant_has_what_its_table_says_and_for_the_rest_what_default_says() -> None:
    found = TenantLimits.parse(
        """
        [default]
        max_connections = 10
        rows_per_second = 0.5

        [tenants.acme]
        weight = 4
        max_connections = 100
        queries_per_second = 1_000
        """,
        1000,
    )
    assert found.of("acme") == Limits(
        weight=4, max_connections=100, rows_per_second=0.5, queries_per_second=1000
    )
    assert found.of("anybody else") == Limits(max_connections=10, rows_per_second=0.5)


def test_without_a_file_or_with_an_empty_one_only_the_servers_limits_hold() -> None:
    assert TenantLimits.parse("", 1000).of("acme") == TenantLimits().of("acme") == Limits()
    assert Limits() == Limits(1, *[None] * (len(FIELDS) - 1))


@pytest.mark.parametrize("table", ["default", "tenants.acme"])
@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", FIELDS)
def test_a_wrong_value_is_named_by_file_table_and_field(name: str, value: str, table: str) -> None:
    said = refusal(f"[{table}]\n{name} = {value}")
    assert said.startswith(f"tenants_file t.toml: [{table}]: {name} = ")
    least, most = FIELDS[name].metadata["least"], FIELDS[name].metadata["most"]
    assert f"from {least} to {most}" in said


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("name", WHOLE)
def test_what_is_counted_is_whole(name: str, value: str) -> None:
    assert "must be an integer" in refusal(f"[default]\n{name} = {value}")


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("name", NUMBERS)
def test_rates_and_weights_need_not_be_whole(name: str, value: str) -> None:
    text = f"[default]\n{name} = {value}"
    assert getattr(TenantLimits.parse(text, 1000).default, name) == float(value)


@pytest.mark.parametrize("name", FIELDS)
def test_the_bounds_are_allowed_and_what_lies_beyond_is_not(name: str) -> None:
    for bound in ("least", "most"):
        value = FIELDS[name].metadata[bound]
        text = f"[default]\n{name} = {value}"
        assert getattr(TenantLimits.parse(text, 1000).default, name) == value
    most = FIELDS[name].metadata["most"]
    assert f"{name} = {most + 1}" in refusal(f"[default]\n{name} = {most + 1}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tenants.acme]\nmax_rows = 1", "[tenants.acme]: max_rows: is not known; a tenant has"),
        ("[default]\ntenant = 'a'", "[default]: tenant: is not known"),
        ("[tenant.acme]\nweight = 1", "tenant: is not known; there are [tenants.NAME] and"),
        ("weight = 1", "weight: is not known"),
        ("default = 3", "[default]: must be a table"),
        ("tenants = []", "tenants: must be tables"),
        ("[tenants]\nacme = 3", "[tenants.acme]: must be a table"),
        ("[[tenants.acme]]\nweight = 1", "[tenants.acme]: must be a table"),
        ("[tenants.'a b']", "tenants: 'a b' is no tenant's name"),
        ("[tenants._others]", "tenants: '_others' is no tenant's name"),
        ("[tenants.'']", "tenants: '' is no tenant's name"),
        (f"[tenants.{'a' * 65}]", "is no tenant's name: 1-64 of A-Z a-z 0-9 . _ -"),
        ("[default]\nweight = 1\nweight = 2", "not TOML"),
        ("[tenants.a]\n[tenants.a]", "not TOML"),
        ("= 3", "not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, said: str) -> None:
    assert f"tenants_file t.toml: {said}" in refusal(text) or said in refusal(text)
    assert refusal(text).startswith("tenants_file t.toml: ")


def test_no_more_tenants_are_named_than_there_may_be() -> None:
    text = "".join(f"[tenants.t{number}]\n" for number in range(3))
    assert len(TenantLimits.parse(text, 3).named) == 3
    assert "3 of them are more than max_tenants (2)" in refusal(text, 2)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(TenantsFileError, match=r"none\.toml: No such file"):
        TenantLimits.load(missing, 10)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TenantsFileError, match=r"bytes\.toml: not UTF-8"):
        TenantLimits.load(tmp_path / "bytes.toml", 10)
