"""FastAPI, which takes a list of typed records and answers 422 to another: python fastapi_app.py PORT."""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Record(BaseModel):
    amount: float
    hour: int


app = FastAPI()


@app.get("/health")
def health():
    return "ok"


@app.post("/invocations")
def score(records: list[Record]):
    return [{"score": 2 * record.amount + record.hour} for record in records]


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
