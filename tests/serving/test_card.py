"""The model card as a page with pictures."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner

from churn_serving.bundle.write import write_files
from churn_serving.cli import app
from churn_serving.errors import DataError
from churn_serving.model import Model, load_model
from churn_serving.train.labelled import encode_accepted
from churn_serving.train.page import build_page
from churn_serving.train.pictures import weigh
from churn_serving.train.table import read_labels, read_table
from churn_serving.train.train import train

from .conftest import shop_plan


@pytest.fixture(scope="module")
def page(shop: Path, shop_csv: Path) -> str:
    return build_page(load_model(shop), read_table(shop_csv))


def test_the_card_shows_all_pictures_in_one_svg(page: str):
    svg = ET.fromstring(re.search(r"<svg.*</svg>", page, re.DOTALL).group())  # noqa: S314 - our own
    texts = {"".join(each.itertext()).strip() for each in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {
        "Who is ranked first (ROC)",
        "Precision and recall",
        "Do probabilities come true",
        "Lift by tenth of customers",
        "What it looks at most",
        "Customers by probability",
        "visits",
    }


def test_the_card_loads_nothing_from_elsewhere(page: str):
    assert not re.search(r"(src|href)=[\"'](?!#)|@import|url\((?!#)|<script", page)


def test_the_same_model_and_data_give_the_same_card(page: str, shop: Path, shop_csv: Path):
    assert build_page(load_model(shop), read_table(shop_csv)) == page


def test_the_card_tells_the_metrics_of_the_data_that_it_is_given(page: str, shop_csv: Path):
    assert "On 600 customers" in page
    assert read_table(shop_csv).digest in page


def test_train_draws_the_card_of_the_rows_held_back(shop_csv: Path, tmp_path: Path):
    options = ["--target", "left", "--positive", "1", "--id", "account", "--drop", "joined"]
    written = ["--name", "shop", "--version", "1", "--out", tmp_path / "b", "--card", tmp_path / "card.html"]
    words = [str(word) for word in ["train", shop_csv, *options, *written]]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    assert "On 120 customers" in (tmp_path / "card.html").read_text()


def test_names_of_columns_are_no_html(shop_csv: Path, tmp_path: Path):
    text = shop_csv.read_text().replace("visits", "<b>visits</b>", 1)
    (tmp_path / "d.csv").write_text(text)
    write_files(tmp_path / "bundle", train(shop_plan(tmp_path / "d.csv")).files)
    drawn = build_page(load_model(tmp_path / "bundle"), read_table(tmp_path / "d.csv"))
    assert "&lt;b&gt;visits" in drawn
    assert "<b>" not in drawn


def test_the_column_that_tells_most_weighs_most(shop: Path, shop_csv: Path):
    """Of the shop's columns churn depends on the visits and, less, on the plan."""
    model, table = load_model(shop), read_table(shop_csv)
    kept, matrix = encode_accepted(model, table)
    weights = weigh(model, matrix, read_labels(table, "left", "1").churned[kept])
    assert weights[0].column == "visits"
    assert weights[0].loss > 3 * np.median([weight.loss for weight in weights])


def test_data_that_does_not_suit_the_model_is_refused(telco_model: Model, shop_csv: Path):
    with pytest.raises(DataError, match="no column 'Churn'"):
        build_page(telco_model, read_table(shop_csv))


def test_without_matplotlib_the_card_says_what_to_install(
    shop: Path, shop_csv: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DataError, match=r"churn-serving\[card\]"):
        build_page(load_model(shop), read_table(shop_csv))
