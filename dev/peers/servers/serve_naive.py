"""FastAPI + scikit-learn + pandas, as tutorials write it. Arguments: the port."""

import sys
from typing import Any

import pandas as pd
import uvicorn
from fastapi import FastAPI
from pipeline import fitted
from pydantic import BaseModel


class Customers(BaseModel):
    """The body of a request."""

    records: list[dict[str, Any]]


app = FastAPI()
model = fitted()


@app.post("/predict")
def predict(customers: Customers) -> dict[str, list[float]]:
    """Churn probabilities, in order."""
    frame = pd.DataFrame(customers.records)
    return {"predictions": model.predict_proba(frame)[:, 1].tolist()}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
