"""Tests of the list of planted defects: each can be planted in today's code, and today's tests are named."""

import ast
import builtins
import collections
import pathlib

import pytest

from tests.mutants import (
    account_defects,
    defects,
    former_survivors,
    guard_defects,
    kind_defects,
    output_defects,
    people_defects,
    source_defects,
    stranding,
    surroundings,
)

ROOT = pathlib.Path(__file__).parents[2]

DEFECTS = (
    *account_defects.DEFECTS,
    *defects.DEFECTS,
    *former_survivors.DEFECTS,
    *guard_defects.DEFECTS,
    *kind_defects.DEFECTS,
    *output_defects.DEFECTS,
    *people_defects.DEFECTS,
    *source_defects.DEFECTS,
    *stranding.DEFECTS,
    *surroundings.DEFECTS,
)
EVERY = [pytest.param(defect, id=defect.name) for defect in DEFECTS]


@pytest.mark.parametrize("defect", EVERY)
def test_a_defect_can_be_planted_in_exactly_one_place(defect: defects.Defect) -> None:
    assert (ROOT / defect.file).read_text(encoding="utf-8").count(defect.before) == 1


@pytest.mark.parametrize("defect", EVERY)
def test_a_planted_defect_is_valid_python_that_uses_no_unknown_name(defect: defects.Defect) -> None:
    sound = (ROOT / defect.file).read_text(encoding="utf-8")
    planted = sound.replace(defect.before, defect.after)
    assert planted != sound
    new = _names(planted) - _names(sound) - set(dir(builtins))
    assert not new, f"a NameError is caught by any test: {sorted(new)}"


@pytest.mark.parametrize("defect", EVERY)
def test_the_tests_of_a_defect_exist(defect: defects.Defect) -> None:
    assert [test for test in defect.tests if not (ROOT / test).exists()] == []


def test_no_two_defects_have_one_name() -> None:
    names = collections.Counter(defect.name for defect in DEFECTS)
    assert [name for name, count in names.items() if count > 1] == []


def _names(source: str) -> set[str]:
    """Return the names that are read and never assigned."""
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return {node.id for node in names} - assigned
