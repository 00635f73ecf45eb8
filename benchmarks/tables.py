"""Tables read by a mapping, with filters, dates and a trailer, against Python's csv module over the same bytes.

Invariant: every measurement is a process of its own, so that its peak of memory is its own. Neighbours:
`worker.sources.document_reader` is what is measured.
"""

import csv
import io
import pathlib
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import results
from worker.sources import completeness, document_reader, row_mapping

_FOLDER = pathlib.Path(__file__).parent.parent
_MOST_ROWS = 100_000
"""Of one document, which may have at most 64 MiB: a larger export is a folder of several."""

_MOST_TIMES = 8.0
_MOST_BYTES = 500.0

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
    """Measure, and yield the figures. The goal is that of an HR export, which has 19 columns."""
    rows = 100_000 if short else 1_000_000
    for columns in (19, 10, 5):
        program = [sys.executable, "-m", "benchmarks.tables", str(rows), str(columns)]
        done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True, cwd=_FOLDER)
        times, size = map(float, done.stdout.split())
        is_goal = columns == 19
        goals = (f"at most {_MOST_TIMES:g}", f"under {_MOST_BYTES:g}") if is_goal else ("", "")
        what = f"{rows:,} rows of {columns} columns: CPU over the csv module"
        yield results.Figure(what, f"{times:.1f}", goals[0], not is_goal or times <= _MOST_TIMES)
        yield results.Figure("  bytes a row that is kept", f"{size:.0f}", goals[1], not is_goal or size < _MOST_BYTES)


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


def _measure(rows: int, columns: int) -> tuple[float, float]:
    """Return the CPU over that of the csv module, and the bytes by which each kept row makes the peak grow."""
    documents = [_export(_MOST_ROWS, columns)] * (rows // _MOST_ROWS)
    started = time.process_time()
    for data in documents:
        for _ in csv.reader(io.StringIO(data.decode("cp1252")), delimiter=";"):
            pass
    plain = time.process_time() - started
    checks = completeness.Completeness(trailer=r"ENDE;(?P<rows>\d+)")
    options = document_reader.DocumentOptions("csv", encoding="cp1252", rows=_MAPPING, checks=checks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    read = [document_reader.read("export", ".csv", data, options) for data in documents]
    ours = time.process_time() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return ours / plain, grown * 1024 / sum(len(contents.rows) for contents in read)


if __name__ == "__main__":
    print(*_measure(int(sys.argv[1]), int(sys.argv[2])))
