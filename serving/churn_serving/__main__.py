"""`python -m churn_serving` is the `churn-serving` command."""

from churn_serving.cli import app

app()
