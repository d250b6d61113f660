"""docs/conditions.md knows every condition and reason."""

import ast

import pytest

from churn_dev import conditions_page
from churn_operator.api.conditions import ConditionType, Reason


def test_every_condition_and_reason_has_a_row() -> None:
    page = conditions_page.render()
    missing = [each for each in (*ConditionType, *Reason) if f"| `{each.value}` |" not in page]
    assert missing == []


def test_a_member_without_a_meaning_is_an_error() -> None:
    enum = ast.parse('class Reason:\n    A = "A"\n    """Meaning."""\n    B = "B"\n').body[0]
    assert isinstance(enum, ast.ClassDef)
    with pytest.raises(ValueError, match="says what it means"):
        list(conditions_page._rows(enum))
