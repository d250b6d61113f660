"""The benchmark's page: figures beside their goals, a miss shown as one."""

from pathlib import Path

import pytest

from churn_dev.bench import MARKS, Figure, at_most, record, table


@pytest.mark.parametrize(("measured", "met"), [(9, "yes"), (10, "yes"), (11, "**no**")])
def test_a_figure_above_its_goal_is_shown_as_missed(measured: float, met: str) -> None:
    assert at_most("requests", measured, 10).row() == f"| requests | ≤ 10 | {measured} | {met} |"


def test_a_figure_without_a_goal_is_not_judged() -> None:
    assert Figure("rate", "", "7/s").row() == "| rate |  | 7/s |  |"


def test_the_table_replaces_the_one_before_and_keeps_the_rest_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Figures\n\n{MARKS[0]}\nold\n{MARKS[1]}\n\nWhy.\n")
    figures = [at_most("writes", 0, 0)]
    record(figures, page)
    once = page.read_text()
    record(figures, page)
    assert page.read_text() == once
    assert once == f"# Figures\n\n{MARKS[0]}\n{table(figures)}{MARKS[1]}\n\nWhy.\n"
