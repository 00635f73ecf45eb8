"""Planted defects in what people see and decide: names, pauses, sign-in.

Neighbours: `defects` says what a defect is.
"""

from tests.mutants.defects import Defect

NAMES = ("tests/journal/test_names.py",)

DEFECTS = (
    Defect(
        "storing the name of a forgotten driver again",
        "worker/journal/row_codec.py",
        "if driver not in forgotten",
        "if driver or driver not in forgotten",
        NAMES,
    ),
    Defect(
        "storing the address of a forgotten driver in messages",
        "worker/journal/row_codec.py",
        "return forgetting.erased(_nameless(document), forgotten.eraser(guarded.people if guarded else None))",
        "return forgetting.erased(_nameless(document), lambda text: text)",
        NAMES,
    ),
    Defect(
        "remembering what the address of a forgotten driver leads to",
        "worker/journal/sql_journal.py",
        'if not forgotten.knows_address(row["reference"])',
        'if row or not forgotten.knows_address(row["reference"])',
        NAMES,
    ),
    Defect(
        "leaving what was deleted in the log of the file",
        "worker/journal/connection.py",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA wal_checkpoint(PASSIVE)",
        NAMES,
    ),
    Defect(
        "names that control the terminal",
        "worker/core/model/people.py",
        "each if each.isprintable() else",
        "each if each else",
        ("tests/core/test_people.py",),
    ),
)
