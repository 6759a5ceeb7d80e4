"""Trains a fraud model with scikit-learn. Saves it in MLflow's format, with records and their expected predictions.

    MLFLOW_DISABLE_TELEMETRY=true python mlflow_model.py MODEL RECORDS

MODEL is a new folder. Each record of RECORDS has its features, and the prediction as `expected`. INPUT_FILTER and
FEATURES remove `expected` from the requests to the server.
"""

import json
import sys
from pathlib import Path

import mlflow.sklearn
import pandas
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TRANSACTIONS = Path(__file__).resolve().parents[2] / "events" / "transactions.jsonl"
model_folder, records_file = Path(sys.argv[1]), Path(sys.argv[2])

transactions = pandas.DataFrame([json.loads(line) for line in TRANSACTIONS.read_text().splitlines()])
features = pandas.DataFrame(
    {
        "amount": transactions["amount"].astype(float),
        "hour": pandas.to_datetime(transactions["time"]).dt.hour.astype("int64"),
        "abroad": (transactions["country"] != transactions["card_country"]).astype("int64"),
    }
)
large = features["amount"] > features["amount"].quantile(0.7)
fraud = (large & ((features["abroad"] == 1) | (features["hour"] < 5))).astype("int64")
assert fraud.nunique() == 2, "a classifier needs both classes"

model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, fraud)
# Most records have a unique probability, so that a prediction delivered for the wrong record is detected.
expected = model.predict_proba(features)
mlflow.sklearn.save_model(
    model,
    model_folder,
    signature=infer_signature(features, expected),
    pyfunc_predict_fn="predict_proba",
    serialization_format="cloudpickle",  # the default needs another package
    pip_requirements=[],  # the model is served in the environment in which it was trained
)
rows = zip(features.to_dict("records"), expected.tolist())
records = [{"id": f"line-{number}", **row, "expected": prediction} for number, (row, prediction) in enumerate(rows, 1)]
records_file.write_text("".join(json.dumps(record) + "\n" for record in records))
