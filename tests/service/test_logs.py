"""Log lines: secrets stay out of them, and every line stays readable."""

import datetime
import io
import json
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from worker import logs
from worker.core.model.secret import Secret


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Forget the configuration and the secrets of the test."""
    yield
    structlog.reset_defaults()
    logs._texts.clear()
    logs._words.clear()


def line(capfdbinary: pytest.CaptureFixture[bytes], *secrets: str, form: logs.Format = "json", **fields: object) -> str:
    """Log one event with these fields, and return the line."""
    for secret in secrets:
        logs.hide(Secret(secret))
    logs.configure(form=form, level="info", colours=False)
    structlog.get_logger().info("run_finished", **fields)
    return capfdbinary.readouterr().err.decode()


def test_every_json_line_begins_with_time_level_and_event(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert list(json.loads(line(capfdbinary, run="run_1"))) == ["timestamp", "level", "event", "run"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "secret", ["correct-horse-battery", 'quote"and\\backslash', "Schlüssel-zum-Konto", "a\tb\tc\td\te"]
)
def test_a_secret_is_masked_wherever_it_occurs_in_a_value(
    capfdbinary: pytest.CaptureFixture[bytes], form: logs.Format, secret: str
) -> None:
    path = pathlib.Path(secret)
    text = line(
        capfdbinary, secret, form=form, message=f"<{secret}>", path=path, nested={"keys": [f"x{secret}y", {secret: 1}]}
    )
    assert secret not in text
    assert json.dumps(secret)[1:-1] not in text
    assert text.count("[secret]") == 4


def test_a_secret_in_a_traceback_is_masked(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    try:
        raise ValueError("bad token correct-horse-battery")
    except ValueError:
        text = line(capfdbinary, "correct-horse-battery", exc_info=True)
    assert "ValueError: bad token [secret]" in json.loads(text)["exception"]


@pytest.mark.parametrize("secret", ["e", "x", "run", "5", "info", '"', "T", "ception"])
def test_a_short_secret_leaves_every_line_as_it_is_apart_from_itself(
    capfdbinary: pytest.CaptureFixture[bytes], secret: str
) -> None:
    fields: dict[str, Any] = {"exception_count": 5, "message": "an exception in run_1", "run": "run_1", "exit": True}
    written = json.loads(line(capfdbinary, secret, **fields))
    assert {name: written[name] for name in fields} == fields
    assert (written["level"], written["event"]) == ("info", "run_finished")


def test_a_short_secret_that_stands_alone_is_masked(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert json.loads(line(capfdbinary, "abc", message="token=abc; not abcd"))["message"] == "token=[secret]; not abcd"


def test_an_empty_secret_masks_nothing(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert json.loads(line(capfdbinary, "", message="fine"))["message"] == "fine"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_name_that_is_not_utf_8_can_be_logged(capfdbinary: pytest.CaptureFixture[bytes], form: logs.Format) -> None:
    assert "m?.yaml" in line(capfdbinary, form=form, where="m\udce9.yaml")


def test_of_keys_that_begin_alike_nothing_remains(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    keys = ["ch_sk_test_1", "ch_sk_test_12", "ch_sk_test_123"]
    message = json.loads(line(capfdbinary, *keys, message=" ".join(reversed(keys))))["message"]
    assert message == "[secret] [secret] [secret]"


def test_a_secret_of_eight_characters_is_masked_inside_of_words(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert json.loads(line(capfdbinary, "12345678", message="x12345678y"))["message"] == "x[secret]y"


def test_what_could_control_a_terminal_is_replaced_but_lines_stay(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    message = json.loads(line(capfdbinary, message="a\x1b[2Jb\u202ec\n\td"))["message"]
    assert message == "a\ufffd[2Jb\ufffdc\n\td"


def test_a_line_for_people_is_short_and_keeps_the_order_of_its_fields(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    text = line(capfdbinary, form="console", run="run_1", changes=2, at="noon")
    assert re.fullmatch(r"\S+Z \[info\] run_finished run=run_1 changes=2 at=noon\n", text)


def test_the_time_of_a_line_is_in_utc(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    written = datetime.datetime.fromisoformat(json.loads(line(capfdbinary))["timestamp"])
    assert written.utcoffset() == datetime.timedelta()
    assert abs(datetime.datetime.now(datetime.UTC) - written) < datetime.timedelta(minutes=5)


class _Stderr(io.TextIOWrapper):
    """A buffered stream that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        self.raw = io.BytesIO()
        super().__init__(io.BufferedWriter(self.raw), encoding="utf-8")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize(
    ("form", "is_terminal", "is_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("console", False, False)],
)
def test_lines_are_json_where_they_are_asked_for_or_go_to_no_terminal(
    monkeypatch: pytest.MonkeyPatch, form: logs.Format, is_terminal: bool, is_json: bool
) -> None:
    stderr = _Stderr(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    logs.configure(form=form, level="info")
    structlog.get_logger().info("run_finished")
    assert stderr.raw.getvalue().startswith(b"{") is is_json


def test_every_line_is_written_at_once_after_what_is_to_be_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is removed first, and the last lines of a process that is killed are there."""
    stderr = _Stderr(is_terminal=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    before: list[int] = []
    logs.configure(form="json", level="info", before=lambda: before.append(stderr.raw.getvalue().count(b"\n")))
    for number in (1, 2):
        structlog.get_logger().info("run_finished")
        assert stderr.raw.getvalue().count(b"\n") == number
    assert before == [0, 1]
