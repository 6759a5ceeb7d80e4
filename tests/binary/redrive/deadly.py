"""A Lambda function that exits when a record has a partition key that starts with "deadly"."""

import json
import os
import urllib.request

API = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"

while True:
    with urllib.request.urlopen(f"{API}/next") as request:
        number, event = request.headers["Lambda-Runtime-Aws-Request-Id"], json.load(request)
    if any(record["kinesis"]["partitionKey"].startswith("deadly") for record in event["Records"]):
        raise SystemExit(1)
    answer = b'{"batchItemFailures":[]}'
    urllib.request.urlopen(urllib.request.Request(f"{API}/{number}/response", data=answer, method="POST")).read()
