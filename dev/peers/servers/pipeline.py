"""The model that every peer serves: what a team writes in a notebook, on the same customers as our own.

Each server trains it at its start, with the scikit-learn that it pins: no pickle passes between versions.
"""

from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

TELCO = Path(__file__).parents[2] / "data" / "telco-customer-churn.csv"
NUMBERS = ["SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"]
NAME = "telco"


def fitted() -> Pipeline:
    """Logistic regression on one-hot categories and scaled numbers; takes a frame of raw columns."""
    customers = pd.read_csv(TELCO, na_values=" ")
    churned = customers.pop("Churn") == "Yes"
    customers = customers.drop(columns="customerID").fillna({"TotalCharges": 0.0})
    texts = [name for name in customers.columns if name not in NUMBERS]
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), texts), (StandardScaler(), NUMBERS)
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(customers, churned)
