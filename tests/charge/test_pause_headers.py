"""How long a 429 asks to wait: `Retry-After`, and the headers that say when the limit is as good as new."""

import datetime
import email.utils

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.support import clocks, laws
from worker.charge import codec, pause_headers
from worker.core.model.errors import RateLimited

LAW = laws.examples(150)


def _date(seconds: float) -> str:
    return email.utils.format_datetime(clocks.NOON + datetime.timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1", 1.0),
        (" 120 ", 120.0),
        ("2.5", 2.5),
        ("-1", None),
        ("-0.5", None),
        ("+5", None),
        ("1e3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("1, 2", None),
        ("5 seconds", None),
        (_date(90), 90.0),
        (_date(-90), 0.0),
        ("Tue, 01 Dec 2026 12:00:30 GMT", 30.0),
        ("Tuesday, 01-Dec-26 12:00:30 GMT", 30.0),
        ("Tue, 01 Dec 2026 13:00:30 +0100", 30.0),
        ("Tue, 99 Dec 2026 12:00:30 GMT", None),
        ("Mon, 01 Jan " + "9" * 30 + " 00:00:00 GMT", None),
        ("Mon, 1 Jan 2024 00:00:00 +999999999999999", None),
    ],
)
def test_retry_after_is_seconds_a_date_or_ignored(text: str, seconds: float | None) -> None:
    assert pause_headers.requested_pause({"retry-after": text}, now=clocks.NOON) == seconds


def test_without_retry_after_there_is_no_pause() -> None:
    assert pause_headers.requested_pause({}, now=clocks.NOON) is None


def test_a_date_is_compared_with_the_servers_own_date() -> None:
    """The machine's clock may be an hour off; the distance between the answer's two dates is not."""
    headers = {"date": _date(3600), "retry-after": _date(3607)}
    assert pause_headers.requested_pause(headers, now=clocks.NOON) == 7.0
    assert pause_headers.requested_pause({**headers, "date": "garbage"}, now=clocks.NOON) == 3607.0


@LAW
@hypothesis.given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [+-]\d+"))
def test_any_retry_after_is_seconds_or_none(text: str) -> None:
    seconds = pause_headers.requested_pause({"retry-after": text, "date": text}, now=clocks.NOON)
    assert seconds is None or seconds >= 0


# --- When the limit is as good as new ----------------------------------------------------------------------

NOON = int(clocks.NOON.timestamp())


@pytest.mark.parametrize(
    "name", ["ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset", "x-ratelimit-reset-after"]
)
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        (str(NOON + 7), 7.0),
        (f"{NOON + 7}.5", 7.5),
        (str(1000 * NOON + 7500), 7.5),
        (_date(7), 7.0),
        ("999999999", 999999999.0),
        ("1000000000", None),  # a time in 2001
        ("0", None),
        (str(NOON - 7), None),
        (_date(-7), None),
        ("soon", None),
    ],
)
def test_the_end_of_the_limit_is_seconds_a_time_or_ignored(name: str, text: str, seconds: float | None) -> None:
    """A limit that is over, or that ends now, asks for no pause: the 429 came for another reason."""
    assert pause_headers.requested_pause({name: text}, now=clocks.NOON) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('"default";r=0;t=7', 7.0),
        ('"burst";r=0; t=7, "daily";r=10;t=900', 7.0),
        ("limit=100, remaining=0, reset=7", 7.0),
        ("limit=100", None),
        ("", None),
    ],
)
def test_it_may_be_in_the_one_header_for_all_of_the_limit(text: str, seconds: float | None) -> None:
    assert pause_headers.requested_pause({"ratelimit": text}, now=clocks.NOON) == seconds


@pytest.mark.parametrize(("text", "seconds"), [("2", 2.0), ("0", 0.0), ("soon", 7.0)])
def test_retry_after_decides_if_it_can_be_read(text: str, seconds: float) -> None:
    assert pause_headers.requested_pause({"retry-after": text, "ratelimit-reset": "7"}, now=clocks.NOON) == seconds


def test_a_time_is_compared_with_the_servers_own_date() -> None:
    headers = {"date": _date(3600), "x-ratelimit-reset": str(NOON + 3607)}
    assert pause_headers.requested_pause(headers, now=clocks.NOON) == 7.0


def test_a_429_without_retry_after_carries_the_time_of_its_limit() -> None:
    error = codec.failure(429, {"ratelimit-reset": "3"}, b"", now=clocks.NOON)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 3.0


@LAW
@hypothesis.given(st.text(max_size=60), st.sampled_from(["ratelimit-reset", "x-ratelimit-reset", "ratelimit"]))
def test_any_of_them_is_seconds_or_none(text: str, name: str) -> None:
    seconds = pause_headers.requested_pause({name: text, "date": text}, now=clocks.NOON)
    assert seconds is None or seconds > 0
