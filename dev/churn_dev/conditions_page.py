"""docs/conditions.md: a ChurnModel's conditions and reasons, from the strings under the operator's enums."""

import ast
from collections.abc import Iterator
from pathlib import Path

from churn_operator.api import conditions

_HEAD = """\
# Conditions and reasons

Written by `make generate` from `operator/churn_operator/api/conditions.py`.
They are API: alerts may rely on them.

`Reconciling` and `Stalled` follow kstatus: they are there only while they are True, so `kubectl wait`,
Argo CD and Flux read a ChurnModel without a custom check. Every condition carries the generation that it
speaks of. The reason of an Event is that of `Ready`.

| condition | True means |
|---|---|
"""
_REASONS = """
| reason | on which conditions, and what it says |
|---|---|
"""


def render() -> str:
    """The page's text."""
    tree = ast.parse(Path(conditions.__file__).read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    types, reasons = (_rows(classes[name]) for name in ("ConditionType", "Reason"))
    return _HEAD + "".join(types) + _REASONS + "".join(reasons)


def _rows(enum: ast.ClassDef) -> Iterator[str]:
    """A table row for each member; the string under it says what it means."""
    body = enum.body
    for member, described in zip(body, [*body[1:], None], strict=True):
        if isinstance(member, ast.Assign):
            meaning = " ".join(_text(getattr(described, "value", None)).split())
            yield f"| `{_text(member.value)}` | {meaning} |\n"


def _text(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError("api/conditions.py: put a string under each member that says what it means")
