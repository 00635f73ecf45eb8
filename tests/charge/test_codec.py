"""Decoding: every reply is a value or an error of our tree, and nothing is guessed."""

import contextlib
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.support import clocks, laws
from worker.charge import codec, pages
from worker.core.model.actual import Driver, Fleet
from worker.core.model.errors import (
    ChargeError,
    Conflict,
    ForeignOrigin,
    KeyRejected,
    NotFound,
    RateLimited,
    RequestRefused,
    ServerFault,
    StillProcessing,
    Unreachable,
)
from worker.core.model.identifiers import DriverId, FleetId

ALICE = "drv_jFme4vQtEAyhWAWt18YgmYvHSUL4AXx5"
VANS = "flt_HpGdGBwWHWAAZnAxuxiPdUiO8uLj8Kk8"
REQUEST = "req_" + "a" * 32

LAW = laws.examples(150)


def _failure(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> ChargeError:
    return codec.failure(status, headers or {}, body, now=clocks.NOON)


def _driver(**fields: Any) -> Driver:
    return codec.decode(json.dumps({"id": ALICE, "fleets": [], **fields}).encode(), codec.DRIVERS).driver()


def _shown(code: str | None, message: str | None = "Something is wrong.", **more: Any) -> bytes:
    shown = {"object": "error", "type": "invalid_request_error", "code": code, "message": message, "param": None}
    return json.dumps({**shown, "request": REQUEST, "status": 400, "doc_url": "https://x", **more}).encode()


# --- Errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "parameter_invalid", RequestRefused),
        (401, "key_invalid", KeyRejected),
        (403, "permission_missing", RequestRefused),
        (404, "driver_not_found", NotFound),
        (404, "fleet_not_found", NotFound),
        (404, "driver_or_fleet_not_found", NotFound),
        (409, "driver_fleet_conflict", Conflict),
        (409, "policy_blocked", Conflict),
        (418, "owner_scope_invalid", RequestRefused),
        (422, "policy_not_found", RequestRefused),
        (429, "rate_limit_exceeded", RateLimited),
        (500, "internal", ServerFault),
        (503, "unavailable", ServerFault),
        (599, "whatever", ServerFault),
    ],
)
def test_an_error_object_keeps_its_code_message_and_request_id(status: int, code: str, kind: type[ChargeError]) -> None:
    error = _failure(status, _shown(code))
    assert type(error) is kind
    assert (error.code, error.status, error.request_id) == (code, status, REQUEST)
    assert error.message == f"{status}: Something is wrong."
    assert error.remedy


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><html><h1>502 Bad Gateway</h1></html>",
        _shown("driver_not_found")[:40],
        b"null",
        b"[]",
        b"17",
        b'"error"',
        b'{"code": 17, "message": ["x"]}',
        b'{"message": null, "code": null, "type": null}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
    ids=["empty", "html", "truncated", "null", "list", "number", "text", "types", "nulls", "bytes", "deep", "deeper"],
)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (401, KeyRejected),
        (404, NotFound),
        (429, RateLimited),
        (500, ServerFault),
        (502, ServerFault),
        (504, ServerFault),
    ],
)
def test_without_an_error_object_the_status_decides(status: int, kind: type[ChargeError], body: bytes) -> None:
    error = _failure(status, body)
    assert type(error) is kind
    assert error.message == f"{status} without an explanation"
    assert error.code == kind.code


@pytest.mark.parametrize("status", [400, 409, 422])
def test_an_idempotency_key_in_use_means_the_write_is_still_processed(status: int) -> None:
    """No two writes of ours share one: it is our own earlier attempt that Charge is busy with."""
    error = _failure(status, _shown("idempotency_key_in_use", "try later"))
    assert type(error) is StillProcessing
    assert (error.status, error.code) == (status, "idempotency_key_in_use")


@pytest.mark.parametrize("status", [408, 425, 499])
def test_a_gateway_timeout_leaves_the_effect_unknown(status: int) -> None:
    assert type(_failure(status, b"<html>")) is Unreachable


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_a_foreign_origin(status: int) -> None:
    error = _failure(status, b"", {"location": "https://evil.test/"})
    assert isinstance(error, ForeignOrigin)
    assert "evil" not in error.message


def test_without_a_code_the_type_is_used() -> None:
    assert _failure(401, _shown(None, type="authentication_error")).code == "key_rejected"


def test_a_message_stays_one_line_of_bounded_length() -> None:
    error = _failure(400, _shown("a\nb", "one\ntwo\x1b[31m\u2028three" + "x" * 1000))
    assert error.message.isprintable()
    assert len(error.message) < 320
    assert error.code == "a b"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, REQUEST, REQUEST),
        ({"request-id": "req_header"}, REQUEST, REQUEST),
        ({"request-id": "req_header"}, None, "req_header"),
        ({"charge-request-id": "req_1", "x-request-id": "req_2"}, None, "req_1"),
        ({"x-request-id": "req_2"}, None, "req_2"),
        ({"x-request-id": "5f3c-uuid"}, None, None),
        ({"x-request-id": "req_2"}, "ch_sk_test_something", "req_2"),
        ({"request-id": "req_a\n"}, "req_" + "a" * 65, None),
        ({}, None, None),
    ],
)
def test_only_a_valid_request_id_is_used(headers: dict[str, str], body: str | None, expected: str | None) -> None:
    assert codec.request_id(headers, body) == expected


# --- Retry-After ------------------------------------------------------------------------------------------


def test_a_429_carries_its_pause() -> None:
    error = _failure(429, _shown("rate_limit_exceeded"), {"retry-after": "3"})
    assert isinstance(error, RateLimited)
    assert error.retry_after == 3.0


# --- Objects ----------------------------------------------------------------------------------------------


def test_a_driver_is_read_with_every_field_that_is_used() -> None:
    driver = _driver(fleets=[VANS], email="a@example.com", name="Alice", metadata={"employee_id": "0042"})
    assert driver == Driver(
        DriverId(ALICE), frozenset({FleetId(VANS)}), "a@example.com", "Alice", {"employee_id": "0042"}
    )


def test_fleets_may_be_null_but_not_missing() -> None:
    """A driver without `fleets` is unreadable, not a driver in no fleet."""
    assert _driver(fleets=None).fleets == frozenset()
    with pytest.raises(Unreachable):
        codec.decode(json.dumps({"id": ALICE}).encode(), codec.DRIVERS)


def test_nulls_and_unknown_fields_are_not_errors() -> None:
    driver = _driver(email=None, name=None, metadata=None, status="in_review", loyalty={"tier": [1, {}]}, object=None)
    assert (driver.email, driver.name, driver.metadata) == ("", "", {})
    fleet = codec.decode(json.dumps({"id": VANS, "status": "dissolving", "x": 1}).encode(), codec.FLEETS).fleet()
    assert fleet == Fleet(FleetId(VANS), "", "dissolving", None)


def test_metadata_compares_as_text() -> None:
    driver = _driver(metadata={"number": 10042, "text": "0042", "nothing": None})
    assert driver.metadata == {"number": "10042", "text": "0042"}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("true", "true"),
        ("false", "false"),
        ("1e5", "1e5"),
        ("1.50", "1.50"),
        ("1E+999", "1E+999"),
        ("12345678901234567890123", "12345678901234567890123"),
        ('[ "a", 1.0, {"b": null} ]', '["a",1.0,{"b":null}]'),
        ('"true"', "true"),
        ('"\\u00e9"', "é"),
    ],
)
def test_metadata_that_is_not_text_reads_as_json(written: str, text: str) -> None:
    """Not as Python would: `active=true` in a document is copied from Charge."""
    body = f'{{"id": "{ALICE}", "fleets": [], "metadata": {{"x": {written}}}}}'
    assert codec.decode(body.encode(), codec.DRIVERS).driver().metadata == {"x": text}


def test_metadata_of_any_depth_is_a_text_or_unreadable() -> None:
    for depth in (*range(100, 1000, 100), *range(900, 1100)):
        body = f'{{"id": "{ALICE}", "fleets": [], "metadata": {{"x": {"[" * depth}{"]" * depth}}}}}'
        with contextlib.suppress(Unreachable):
            assert codec.decode(body.encode(), codec.DRIVERS).driver().metadata == {"x": "[" * depth + "]" * depth}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"null",
        b"[]",
        b"{}",
        b'{"id": 17, "fleets": []}',
        b'{"id": "drv_", "fleets": []}',
        b'{"id": "flt_abc", "fleets": []}',
        b'{"id": "drv_../fleets", "fleets": []}',
        b'{"id": "drv_abc\\n", "fleets": []}',
        b'{"id": "drv_abc", "fleets": "none"}',
        b'{"id": "drv_abc", "fleets": [17]}',
        b'{"id": "drv_abc", "fleets": {}}',
        b'{"id": "drv_abc", "fleets": [], "metadata": []}',
        b'{"id": "drv_abc", "fleets": [], "email": {}}',
        b'{"id": "drv_abc", "fleets": []',
        b'{"id": "drv_abc", "fleets": []} trailing',
        b'{"id": "drv_abc", "fleets": [], "name": "\\ud800"}',
        b'{"id": "drv_abc", "fleets": [], "name": "\xff"}',
        b'{"id": "drv_abc", "fleets": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_an_invalid_driver_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreachable) as caught:
        codec.decode(body, codec.DRIVERS)
    assert caught.value.code == "answer_unreadable"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(ALICE),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "fleets", "data", "next_page_url", "metadata", "x"]), inner)
    ),
    max_leaves=12,
)


@LAW
@hypothesis.given(_JSON.map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=50))
def test_any_body_is_an_object_or_unreadable(body: bytes) -> None:
    for read in (
        lambda: codec.decode(body, codec.DRIVERS).driver(),
        lambda: codec.decode(body, codec.FLEETS).fleet(),
        lambda: pages.read(body, codec.DRIVERS).objects,
        lambda: pages.read(body, codec.FLEETS).objects,
    ):
        with contextlib.suppress(Unreachable):
            read()
    assert isinstance(_failure(503, body), ServerFault)


def test_a_key_in_a_name_or_address_is_masked() -> None:
    """Names go to the journal and to people."""
    body = json.dumps({"id": ALICE, "fleets": [], "name": "ch_sk_live_abc", "email": "ch_sk_live_abc@x"}).encode()
    driver = codec.decode(body, codec.DRIVERS).driver()
    assert "live_abc" not in driver.name + driver.email
    fleet = codec.decode(json.dumps({"id": VANS, "name": "ch_sk_live_abc"}).encode(), codec.FLEETS).fleet()
    assert fleet.name and "live_abc" not in fleet.name
    plain = codec.decode(json.dumps({"id": VANS, "name": None}).encode(), codec.FLEETS).fleet()
    assert (plain.name, plain.status, plain.timezone) == ("", "", "")
