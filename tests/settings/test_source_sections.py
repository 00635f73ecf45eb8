"""The sections below `[[sources]]`: what is read, what is refused, and how the refusal is worded."""

import encodings
import pkgutil
import tomllib

import pytest

from tests.settings import conftest, test_schema
from worker.core.model.errors import SettingsError
from worker.service import source_factory
from worker.sources import completeness, file_source, positions, row_mapping

SOURCE = '[[sources]]\npath = "hr.csv"\n'
ROWS = '[sources.rows]\ndriver = "employee_id={ID}"\nfleet = "{Dept}"\n'
SCOPE = f'[sources.fleets]\n"Paris" = "flt_{"P" * 32}"\n"Lyon" = "Lyon vans"\n'

EVERYTHING = f"""{SOURCE}name = "hr"
include = ["*.csv"]
exclude = ["old*"]
settle_seconds = 60
poll_seconds = 5
format = "csv"
delimiter = "semicolon"
encoding = "cp1252"
{ROWS}from = "{{Start}}"
until = "{{End}}"
note = "{{Name}}"
date_format = "%d.%m.%Y"
keep = {{Status = ["Active", ""]}}
drop = {{Status = ["Left"]}}
other_fleets = "ignore"
{SCOPE}[sources.completeness]
manifest = "{{path}}.json"
trailer = '^#END (?P<rows>\\d+)$'
min_rows = 900
max_age_hours = 26
"""


def test_every_key_reaches_the_source(load: conftest.Load) -> None:
    (source,) = source_factory.create(load(EVERYTHING, sources=""))
    assert isinstance(source.fetcher, file_source.FileFetcher)
    assert source.fetcher.selection == file_source.Selection(("*.csv",), ("old*",), True, "{path}.json", 60)
    assert (source.kind, source.name, source.poll_seconds) == ("file", "hr", 5)
    options = source.options
    assert (options.format, options.delimiter, options.encoding) == ("csv", "semicolon", "cp1252")
    assert options.rows == row_mapping.RowMapping(
        driver="employee_id={ID}",
        fleet="{Dept}",
        starts="{Start}",
        ends="{End}",
        note="{Name}",
        date_format="%d.%m.%Y",
        keep={"Status": ("Active", "")},
        drop={"Status": ("Left",)},
        other_fleets="ignore",
        fleets={"Paris": f"flt_{'P' * 32}", "Lyon": "Lyon vans"},
    )
    assert options.checks == completeness.Completeness("{path}.json", r"^#END (?P<rows>\d+)$", 900, 26)
    test_schema.validator("settings").validate(tomllib.loads(EVERYTHING))


_BYTES = (bytes(range(256)), b"\\ud800", b"xn--a\xff.b", b"a,b\r\n1,2\r\n")


@pytest.mark.parametrize("name", sorted(module.name for module in pkgutil.iter_modules(encodings.__path__)))
def test_what_an_encoding_that_may_be_named_makes_of_any_bytes_is_text_or_a_place(
    load: conftest.Load, name: str
) -> None:
    """Some of Python's fail in ways of their own, or yield what is no text."""
    try:
        load(f"{SOURCE}encoding = '{name}'\n", sources="")
    except SettingsError:
        return
    for data in _BYTES:
        try:
            text = positions.decode(data, encoding=name)
        except positions.Malformed:
            continue
        assert text.encode().decode() == text


def test_the_sections_are_optional(load: conftest.Load) -> None:
    (source,) = source_factory.create(load())
    assert isinstance(source.fetcher, file_source.FileFetcher)
    assert (source.options.rows, source.options.checks) == (None, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f"{SOURCE}kind = 'ldap'\n",
            '3:8: sources.kind: write "file", "http", "sftp", "object", "command", "sql" or "git"',
        ),
        (f"{SOURCE}kind = 3\n", '3:8: sources.kind: write "file", "http", "sftp", "object", "command", "sql" or "git"'),
        (f"{SOURCE}{SOURCE}", "two sources have the same name or address: set the name of one of them"),
        (f"{SOURCE}name = 'a'\n{SOURCE}name = 'a'\n", "two sources have the same name or address"),
        (f"{SOURCE}include = '*.csv'\n", '3:11: sources.include: write a list, like ["…", "…"]'),
        (f"{SOURCE}poll_seconds = 1e-300\n", "3:16: sources.poll_seconds: write a number of at least 0.01"),
        (f"{SOURCE}settle = 1\n", 'unknown key "settle" in sources: its keys are kind, name, poll_seconds'),
        (f"{SOURCE}format = 'xml'\n", '3:10: sources.format: write "auto", "yaml", "json", "toml", "csv" or "xlsx"'),
        (f"{SOURCE}delimiter = '|'\n", '3:13: sources.delimiter: write "auto", "comma", "semicolon" or "tab"'),
        (f"{SOURCE}encoding = 'klingon'\n", '3:12: sources.encoding: write "auto" or the name of an encoding'),
        (f"{SOURCE}encoding = 'base64'\n", '3:12: sources.encoding: write "auto" or the name of an encoding'),
        (f"{SOURCE}encoding = 'unicode_escape'\n", '3:12: sources.encoding: write "auto" or the name of an encoding'),
        (f"{SOURCE}[sources.rows]\nfleet = '{{Dept}}'\n", "3:1: sources.rows.driver is missing: write driver ="),
        (f"{SOURCE}[sources.rows]\ndriver = '{{ID}}'\n", '3:1: sources.rows.fleet is missing: write fleet = "{Dep'),
        (f"{SOURCE}rows = 'driver'\n", "3:8: sources.rows must be a section: write [sources.rows]"),
        (f"{SOURCE}{ROWS}form = '{{Start}}'\n", '6:1: unknown key "form" in sources.rows: its keys are driver, fleet'),
        (f"{SOURCE}{ROWS}form = '{{Start}}'\n", 'did you mean "from"?'),
        (f"{SOURCE}{ROWS}starts = '{{Start}}'\n", '6:1: unknown key "starts" in sources.rows'),
        (f"{SOURCE}{ROWS}from = '{{Start'\n", "6:8: sources.rows.from: write each column in braces of its own"),
        (
            f"{SOURCE}[sources.rows]\ndriver = 'ID'\nfleet = '{{Dept}}'\n",
            "4:10: sources.rows.driver: write a column in",
        ),
        (f"{SOURCE}{ROWS}note = '{{}}'\n", "6:8: sources.rows.note: write each column in braces of its own"),
        (f"{SOURCE}{ROWS}date_format = '%d.%m.'\n", "6:15: sources.rows.date_format: write the day, month and year"),
        (f"{SOURCE}{ROWS}date_format = '%d.%m.%Y %H:%M'\n", "6:15: sources.rows.date_format: write the day, month"),
        (f"{SOURCE}{ROWS}keep = ['a']\n", "6:8: sources.rows.keep: write a table, like {Status = …}"),
        (f"{SOURCE}{ROWS}keep = {{a = 'b'}}\n", "6:13: sources.rows.keep.a: write a list, like"),
        (f"{SOURCE}{ROWS}keep = {{A = ['b']}}\ndrop = {{A = ['b']}}\n", '"b" of column "A" is in both keep and drop'),
        (
            f"{SOURCE}{ROWS}keep = {{A = ['b']}}\ndrop = {{' a' = ['b']}}\n",
            '"b" of column "A" is in both keep and drop',
        ),
        (
            f"{SOURCE}{ROWS}keep = {{A = ['b'], a = ['c']}}\n",
            '6:8: sources.rows.keep: "A" and "a" name the same column',
        ),
        (f"{SOURCE}{ROWS}drop = {{A = ['b'], 'A ' = []}}\n", '6:8: sources.rows.drop: "A" and "A " name the same'),
        (f"{SOURCE}{ROWS}drop = {{A = [' b']}}\n", '6:8: sources.rows.drop: " b" begins or ends with a space'),
        (f"{SOURCE}{ROWS}[sources.fleets]\n'A\u00a0' = 'B'\n", 'sources.fleets: "A\u00a0" begins or ends with a space'),
        (f"{SOURCE}{ROWS}other_fleets = 'drop'\n", '6:16: sources.rows.other_fleets: write "error", "ignore" or'),
        (f"{SOURCE}{ROWS}other_fleets = 'ignore'\n", "other_fleets needs [sources.fleets]"),
        (f"{SOURCE}{SCOPE}", "[sources.fleets] needs [sources.rows]"),
        (f"{SOURCE}{ROWS}[sources.fleets]\n", "6:1: sources.fleets: write at least one"),
        (f"{SOURCE}{ROWS}[sources.fleets]\nA = 'flt_short'\n", "flt_ and exactly 32 letters or digits"),
        (f"{SOURCE}[sources.completeness]\ntrailer = '('\n", "4:11: sources.completeness.trailer: write a regular"),
        (f"{SOURCE}[sources.completeness]\nmin_rows = -1\n", "write a number of at least 0"),
        (f"{SOURCE}[sources.completeness]\nmax_age_hours = 0\n", "write a number greater than 0"),
        (f"{SOURCE}[sources.completeness]\nmax_age = 1\n", 'unknown key "max_age" in sources.completeness'),
    ],
)
def test_mistakes_are_refused_with_what_to_write(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(text, sources="")
    assert problem in found


def test_two_sources_of_the_same_address_need_different_names(load: conftest.Load) -> None:
    settings = load(f'{SOURCE}{SOURCE}name = "other"\n', sources="")
    assert [source.name for source in source_factory.create(settings)] == ["hr.csv", "other"]
