"""Every generated file is what its source says today."""

from pathlib import Path

import pytest

from churn_dev import generate
from churn_dev.chart_values import described_values


@pytest.mark.parametrize("path", [file.path for file in generate.FILES], ids=lambda path: path.name)
def test_the_file_is_current(path: Path):
    """`make generate` would not change it."""
    render = next(file.render for file in generate.FILES if file.path == path)
    assert path.read_text() == render()


def test_every_sample_is_generated():
    """So that each carries the digest of the committed bundle."""
    samples = {file.path for file in generate.FILES if file.path.parent == generate.SAMPLES}
    assert samples == set(generate.SAMPLES.glob("*.yaml"))
    assert samples


def test_every_value_of_the_chart_is_described():
    described = list(described_values((generate.CHART / "values.yaml").read_text()))
    assert len(described) > 15
    assert [name for name, _, meaning in described if not meaning] == []


def test_a_value_without_a_comment_is_a_section():
    text = "a:\n  # Meant so.\n  b: 1\n# A\n# value.\nc: {d: 2}\n"
    assert list(described_values(text)) == [("a.b", 1, "Meant so."), ("c", {"d": 2}, "A value.")]
