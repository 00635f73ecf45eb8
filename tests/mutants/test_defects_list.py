"""Tests of the list of planted defects: each can be planted in today's code, and today's tests are named."""

import ast
import builtins
import collections
import functools
import pathlib

import pytest

from tests.mutants.every_defect import DEFECTS

ROOT = pathlib.Path(__file__).parents[2]


def test_a_defect_can_be_planted_in_exactly_one_place() -> None:
    places = {defect.name: _text(defect.file).count(defect.before) for defect in DEFECTS}
    assert {name: number for name, number in places.items() if number != 1} == {}


@pytest.mark.integration
def test_a_planted_defect_is_valid_python_that_uses_no_unknown_name() -> None:
    """A NameError is caught by any test."""
    for defect in DEFECTS:
        sound = _text(defect.file)
        planted = sound.replace(defect.before, defect.after)
        assert planted != sound, defect.name
        assert _names(planted) - _names(sound) - set(dir(builtins)) == set(), defect.name


def test_the_tests_of_a_defect_exist() -> None:
    missing = {defect.name: [test for test in defect.tests if not (ROOT / test).exists()] for defect in DEFECTS}
    assert {name: tests for name, tests in missing.items() if tests} == {}


def test_no_two_defects_have_one_name() -> None:
    names = collections.Counter(defect.name for defect in DEFECTS)
    assert [name for name, count in names.items() if count > 1] == []


@functools.cache
def _text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@functools.cache
def _names(source: str) -> set[str]:
    """Return the names that are read and never assigned."""
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return {node.id for node in names} - assigned
