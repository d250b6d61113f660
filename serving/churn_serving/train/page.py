"""The model card as a page for a browser: one file, nothing loaded from elsewhere."""

# ruff: noqa: E501 (lines of HTML)

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from churn_serving.errors import DataError
from churn_serving.model import Model
from churn_serving.train.evaluate import measure
from churn_serving.train.labelled import encode_accepted
from churn_serving.train.pictures import Weight, draw, weigh
from churn_serving.train.table import Table, drop_unlabelled, read_labels, require_column

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}svg{width:100%;height:auto}code{background:#f2f2f2;padding:0 .2rem}"""


class _Fact(NamedTuple):
    name: str
    value: str
    says: str


def build_page(model: Model, table: Table) -> str:
    """HTML: how good the model is on labelled customers whom it was not trained on, one hopes.

    Raises:
        DataError: The table lacks the model's columns or its target, or all rows are of one outcome; or
            matplotlib is not installed.
    """
    manifest = model.manifest
    require_column(table, manifest.target, "the model's target")
    labelled = drop_unlabelled(table, manifest.target)
    churned = read_labels(labelled, manifest.target, manifest.positive, least=1).churned
    kept, matrix = encode_accepted(model, labelled)
    churned = churned[kept]
    if len({*churned.tolist()}) < 2:
        raise DataError("the rows that the model accepts are all of one outcome")
    probability = model.scorer.probabilities(matrix)
    metrics = measure(churned, probability, train_rows=0)
    facts = [
        _Fact("AUC", f"{metrics.auc:.4f}", "0.5 is guessing, 1 is perfect ranking"),
        _Fact(
            "average precision", f"{metrics.average_precision:.4f}", f"{metrics.churn_rate:.4f} is guessing"
        ),
        _Fact(
            "Brier score", f"{metrics.brier:.4f}", "mean squared error of the probability; smaller is better"
        ),
        _Fact(
            "lift in the top decile", f"{metrics.lift_top_decile:.2f}", "churners there, times the average"
        ),
    ]
    weights = weigh(model, matrix, churned)
    rejected = labelled.rows - len(kept)
    intro = (
        f"On {len(kept):,} customers, {metrics.churn_rate:.1%} of them churners"
        + (f"; {rejected:,} more were rejected." if rejected else ".")
        + f" Their file: {labelled.digest}."
    )
    return _page(model, intro, facts, weights, draw(churned, probability, weights))


def _page(model: Model, intro: str, facts: Sequence[_Fact], weights: Sequence[Weight], pictures: str) -> str:
    manifest = model.manifest
    title = escape(f"{manifest.name} {manifest.version}")
    measured = "".join(
        f'<tr><td>{escape(fact.name)}</td><td class="n">{fact.value}</td><td>{fact.says}</td></tr>'
        for fact in facts
    )
    looked_at = "".join(
        f'<tr><td><code>{escape(weight.column)}</code></td><td class="n">{weight.loss:.4f}</td></tr>'
        for weight in weights
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<p>Estimates how probable it is that <code>{escape(manifest.target)}</code> is <code>{escape(manifest.positive)}</code>.
Algorithm: {escape(manifest.algorithm)}. A customer counts as churning from a probability of {manifest.threshold}.
Digest: <code>{model.digest}</code></p>
<h2>How good it is</h2><p>{escape(intro)}</p>
<table><tr><th>metric</th><th>value</th><th>says</th></tr>{measured}</table>
<figure role="img" aria-label="ROC, precision and recall, calibration, lift, columns, probabilities">{pictures}</figure>
<h2>What it looks at</h2>
<p>AUC lost where a column's values are dealt out among the customers anew. Columns that say the same share one weight.</p>
<table><tr><th>column</th><th>AUC lost</th></tr>{looked_at}</table>
</body></html>
"""
