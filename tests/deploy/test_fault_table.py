"""docs/faults.md names a test for each case of the catalogue, or says why there is none."""

import ast
import re

import pytest

from churn_dev.generate import ROOT

CASES = {
    f"{letter}{number}"
    for letter, first, last in (("A", 1, 23), ("B", 1, 16), ("C", 1, 10), ("D", 3, 14), ("H", 1, 5))
    for number in range(first, last + 1)
}
PAGE = (ROOT / "docs/faults.md").read_text()
ROWS = dict(re.findall(r"^\| ([A-Z]\d+) \| .+? \| (.+) \|$", PAGE, re.MULTILINE))
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def test_every_case_has_its_row():
    assert ROWS.keys() == CASES


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_row_names_a_test_or_says_why_not(case: str):
    assert re.search(r"`tests/|does not apply: |as A\d|the same", ROWS[case])


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_a_test_that_is_named_exists(file: str, test: str):
    tree = ast.walk(ast.parse((ROOT / file).read_text()))
    assert test in {each.name for each in tree if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
