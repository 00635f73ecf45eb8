"""Small changes of a module's syntax tree: operators swapped, conditions negated, statements left out.

Invariant: every mutant is valid Python that differs from the module. What only decides how fast or how verbose the
program is (logging, tuning constants, texts) is not changed. Neighbours: `generated` chooses mutants and tests them.
"""

import ast
import dataclasses
from collections.abc import Iterator
from typing import Any

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}
_QUIET = ("log", "warnings", "progress", "self._progress")
"""Objects whose calls only tell people something."""


_Path = tuple[tuple[str, int | None], ...]
"""The way from a module to a node: fields, with an index where a field is a list."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a module: the node that takes the place of another."""

    file: str
    line: int
    before: str
    path: _Path
    node: ast.AST

    def __str__(self) -> str:
        """Show where it is and what changes."""
        return f"{self.file}:{self.line}: {self.before}  ->  {_shown(self.node)}"

    def planted(self, source: str) -> str:
        """Return the source of the module with this change."""
        tree = ast.parse(source)
        _replace(tree, self.path, self.node)
        return ast.unparse(ast.fix_missing_locations(tree))


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    for path, node in _changeable(ast.parse(source)):
        for changed in _changes(node):
            yield Mutant(file, node.lineno, _shown(node), path, changed)


def _changeable(node: ast.AST, path: _Path = ()) -> Iterator[tuple[_Path, ast.stmt | ast.expr]]:
    """Yield each statement and expression that may change, with the way that leads to it."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_comment", "args", "msg"):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            way = (*path, (field, index))
            if isinstance(child, ast.stmt | ast.expr):
                yield way, child
            yield from _changeable(child, way)


def _is_left_alone(node: ast.AST) -> bool:
    """Return whether nothing below a node is changed: texts for people, tuning constants, declarations."""
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=called))):
            return ast.unparse(called) in _QUIET
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name.isupper() or name.strip("_").isupper()
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.ClassDef(bases=bases):
            return any(ast.unparse(base) == "Protocol" for base in bases)
        case _:
            return False


def _changes(node: ast.stmt | ast.expr) -> Iterator[ast.stmt | ast.expr]:
    """Yield what may take the place of a node."""
    return _changed_statements(node) if isinstance(node, ast.stmt) else _changed_expressions(node)


def _changed_expressions(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=comparators) if type(operator) in _SWAPPED:
            yield ast.Compare(left, [_swapped(operator)], comparators)
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(_swapped(operator), values)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _SWAPPED:
            if not any(isinstance(each, ast.Constant | ast.JoinedStr) for each in (left, right)):
                yield ast.BinOp(left, _swapped(operator), right)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=0 | 1 as value):
            yield ast.Constant(1 - value)
        case _:
            pass


def _changed_statements(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and not value.value):
            yield ast.Return(ast.Constant(None))  # for anything but what is as false
        case ast.Continue():
            yield ast.Break()
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Assign(targets=[ast.Attribute()]):
            yield ast.Pass()
        case ast.If(test=ast.Name() | ast.Attribute() | ast.Call() as test, body=body, orelse=orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case _:
            pass


def _swapped(operator: ast.AST) -> Any:
    return _SWAPPED[type(operator)]()


def _replace(tree: ast.AST, path: _Path, changed: ast.AST) -> None:
    """Put a node into a tree, at the end of a way."""
    *way, (field, index) = path
    parent = tree
    for name, number in way:
        child = getattr(parent, name)
        parent = child if number is None else child[number]
    if index is None:
        setattr(parent, field, changed)
    else:
        getattr(parent, field)[index] = changed


def _shown(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(node))
    line = text.partition("\n")[0]
    return line if len(line) <= 70 else f"{line[:67]}..."
