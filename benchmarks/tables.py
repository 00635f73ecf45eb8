"""Documents against the parsers that do no more than parse: Python's csv and json modules, and PyYAML's in C.

Tables are also read by a mapping, with filters, dates and a trailer, against the csv module over the same bytes.

Invariant: every measurement is a process of its own, so that its peak of memory is its own. Neighbours:
`worker.sources.document_reader` is what is measured.
"""

import csv
import gc
import io
import json
import pathlib
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import yaml

from benchmarks import results
from worker.cli import main
from worker.sources import completeness, document_reader, row_mapping

_FOLDER = pathlib.Path(__file__).parent.parent
_MOST_ROWS = 100_000
"""Of one document, which may have at most 64 MiB: a larger export is a folder of several."""

_MOST_TIMES = 8.0
_MOST_BYTES = 500.0
_GOALS = {"csv": 8.0, "json": 15.0, "json with dates": 15.0, "yaml": 2.0}
"""The most CPU of a document of our own shape, over that of the parser alone; "with dates", each row is an object."""

_FLEETS = {f"Abteilung {number}": f"Flotte {number}" for number in range(40)}
_STATUSES = ("Aktiv", "Aktiv", "Aktiv", "Elternzeit", "Ausgeschieden")
_MAPPING = row_mapping.RowMapping(
    driver="employee_id={Personalnummer}",
    fleet="{Abteilung}",
    starts="{Eintritt}",
    ends="{Austritt}",
    date_format="%d.%m.%Y",
    keep={"Status": ("Aktiv", "Elternzeit")},
    drop={"Status": ("Ausgeschieden",)},
    fleets=_FLEETS,
)


def figures(*, short: bool) -> Iterator[results.Figure]:
    """Measure, and yield the figures."""
    for name, most in _GOALS.items():
        times, size = _in_a_process(name, document=_document(name))
        yield results.at_most(f"{_MOST_ROWS:,} rows in {name}: CPU over its parser", times, most, form=".1f")
        yield results.at_most("  bytes a row, at the peak", size, _MOST_BYTES, form=".0f")
    rows = 100_000 if short else 1_000_000
    for columns in (19, 10, 5):
        times, size = _in_a_process(str(rows), document=_export(_MOST_ROWS, columns))
        what = f"{rows:,} rows of {columns} columns: CPU over the csv module"
        yield results.at_most(what, times, _MOST_TIMES, form=".1f")
        yield results.at_most("  bytes a row that is kept", size, _MOST_BYTES, form=".0f")


def _in_a_process(*arguments: str, document: bytes = b"") -> Sequence[float]:
    program = [sys.executable, "-m", "benchmarks.tables", *arguments]
    done = subprocess.run(program, input=document, stdout=subprocess.PIPE, check=True, cwd=_FOLDER)
    return [float(figure) for figure in done.stdout.split()]


def _document(name: str) -> bytes:
    """Return a document of our own shape."""
    fleets = {
        f"Fleet {each}": [f"driver-{each}-{n}@example.com" for n in range(_MOST_ROWS // 40)] for each in range(40)
    }
    if name == "json":
        return json.dumps({"fleets": fleets}, indent=1).encode()
    if name == "json with dates":
        rows = {
            fleet: [
                {"driver": each, "from": f"20{n % 30:02}-01-31", "note": f"note {n}"} for n, each in enumerate(drivers)
            ]
            for fleet, drivers in fleets.items()
        }
        return json.dumps({"fleets": rows}, indent=1).encode()
    if name == "yaml":
        return yaml.dump({"fleets": fleets}, Dumper=yaml.CSafeDumper).encode()
    lines = [f"{driver},{fleet}\n" for fleet, drivers in fleets.items() for driver in drivers]
    return "".join(["driver,fleet\n", *lines]).encode()


def _parse(name: str, text: str) -> None:
    if name.startswith("json"):
        json.loads(text)
    elif name == "yaml":
        yaml.load(text, Loader=yaml.CSafeLoader)
    else:
        for _ in csv.reader(io.StringIO(text)):
            pass


def _measure_document(name: str, data: bytes) -> tuple[float, float]:
    """Return the CPU over that of the parser, and the bytes by which each row makes the peak grow."""
    options = document_reader.DocumentOptions()
    suffix = f".{name.partition(' ')[0]}"
    document_reader.read("small", suffix, b"-", options)  # imports what it needs
    before = _peak()
    started = time.process_time()
    read = document_reader.read("large", suffix, data, options)
    ours = time.process_time() - started
    grown = _peak() - before
    started = time.process_time()
    _parse(name, data.decode())
    return ours / (time.process_time() - started), grown * 1024 / len(read.rows)


def _export(rows: int, columns: int) -> bytes:
    """Return an HR export in cp1252 with a trailer."""
    chance = random.Random(1)
    header = ["Personalnummer", "Abteilung", "Status", "Eintritt", "Austritt", *map(str, range(columns - 5))]
    lines = [";".join(header)]
    for number in range(rows):
        began = f"{chance.randint(1, 28):02}.{chance.randint(1, 12):02}.{chance.randint(1990, 2026)}"
        own = [f"{number:07}", f"Abteilung {chance.randrange(40)}", chance.choice(_STATUSES), began, ""]
        lines.append(";".join([*own, *["Müller GmbH"] * (columns - 5)]))
    return "\n".join([*lines, f"ENDE;{rows}", ""]).encode("cp1252")


def _peak() -> int:
    """Return the most memory that this process had, in KiB. `getrusage` would also count the one that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    assert found is not None  # noqa: S101 - on Linux
    return int(found[1])


def _measure(rows: int, data: bytes) -> tuple[float, float]:
    """Return the CPU over that of the csv module, and the bytes by which each kept row makes the peak grow."""
    documents = [data] * (rows // _MOST_ROWS)
    checks = completeness.Completeness(trailer=r"ENDE;(?P<rows>\d+)")
    options = document_reader.DocumentOptions("csv", encoding="cp1252", rows=_MAPPING, checks=checks)
    before = _peak()
    started = time.process_time()
    read = [document_reader.read("export", ".csv", data, options) for data in documents]
    ours = time.process_time() - started
    grown = _peak() - before
    started = time.process_time()
    for data in documents:
        for _ in csv.reader(io.StringIO(data.decode("cp1252")), delimiter=";"):
            pass
    plain = time.process_time() - started
    return ours / plain, grown * 1024 / sum(len(contents.rows) for contents in read)


if __name__ == "__main__":
    gc.set_threshold(main.OBJECTS_BETWEEN_COLLECTIONS)  # as the command does
    document = sys.stdin.buffer.read()
    is_own = sys.argv[1] in _GOALS
    print(*(_measure_document(sys.argv[1], document) if is_own else _measure(int(sys.argv[1]), document)))
