"""Sends streams of records through the function and checks that every record arrives.

Each scenario puts card transactions into its own Kinesis stream and lets `cargo local` run them through the function.
It then checks that each event ID is in OUTPUT or in DEAD_LETTER.
"""

import hashlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import boto3
from botocore.config import Config

from gateway import Gateway
from model import Model
from model_servers import free_port, is_ready, running

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target" / "e2e"
LOCAL = ROOT / "target" / "debug" / "instream-local"
REDRIVE = ROOT / "target" / "debug" / "instream-redrive"
FUNCTION = ROOT / "target" / "debug" / "instream"
KINESIS, MOTO = sys.argv[1], sys.argv[2]
ONLY = sys.argv[3:]
ACCOUNT = dict(region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local")
LAST_SHARD = dict(ExplicitHashKey=str(2**128 - 1))
CREDENTIALS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
PATIENT = Config(retries={"max_attempts": 10, "mode": "standard"})


def client(service):
    return boto3.client(service, endpoint_url=KINESIS if service == "kinesis" else MOTO, config=PATIENT, **ACCOUNT)


kinesis, sqs, firehose, s3 = (client(service) for service in ("kinesis", "sqs", "firehose", "s3"))


def wait_for(name, is_ready):
    for _ in range(300):
        try:
            if is_ready():
                return
        except Exception:  # it may not be ready yet
            pass
        time.sleep(0.1)
    sys.exit(f"still waiting for {name} after 30 s")


def stream_arn(name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]


def make_stream(name, shards=2):
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    summary = lambda: kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    wait_for(f"the stream {name}", lambda: summary()["StreamStatus"] == "ACTIVE")


def fill_stream(name, count, keys=997):
    """Puts transactions with so many partition keys into a new stream. Returns their event IDs."""
    lines = (ROOT / "events" / "transactions.jsonl").read_text().splitlines()
    data = [lines[n % len(lines)].encode() for n in range(count)]
    return put_records(name, [{"Data": line, "PartitionKey": f"card-{n % keys}"} for n, line in enumerate(data)])


def put_records(name, entries):
    """Puts records into a new stream. Returns their event IDs."""
    make_stream(name)
    ids = []
    for start in range(0, len(entries), 500):
        response = kinesis.put_records(StreamName=name, Records=entries[start : start + 500])
        assert response["FailedRecordCount"] == 0, response
        ids += [f"{record['ShardId']}:{record['SequenceNumber']}" for record in response["Records"]]
    return ids


def records(name):
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            page = kinesis.get_records(ShardIterator=iterator, Limit=10000)
            yield from page["Records"]
            iterator = page["NextShardIterator"]
            if not page["Records"]:
                break


def in_stream(name):
    lines = []
    for record in records(name):
        lines.append(record["Data"].decode())
        assert json.loads(lines[-1])["partitionKey"] == record["PartitionKey"], "the partition key differs"
    return lines


def in_queue(url):
    lines = []
    while True:
        response = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["MessageGroupId"])
        messages = response.get("Messages", [])
        if not messages:
            return lines
        for message in messages:
            lines.append(message["Body"])
            key = json.loads(lines[-1])["partitionKey"]
            assert not url.endswith(".fifo") or message["Attributes"]["MessageGroupId"] == key, "the group differs"
        done = [{"Id": str(n), "ReceiptHandle": it["ReceiptHandle"]} for n, it in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=url, Entries=done)


def in_bucket(bucket, prefix=""):
    lines = []
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for item in (item for page in pages for item in page.get("Contents", [])):
        lines += s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read().decode().splitlines()
    return lines


def environment(settings):
    return {
        **os.environ,
        "AWS_ENDPOINT_URL_KINESIS": KINESIS,
        "AWS_ENDPOINT_URL_SQS": MOTO,
        "AWS_ENDPOINT_URL_FIREHOSE": MOTO,
        "AWS_ENDPOINT_URL_S3": MOTO,
        "CALL_TIMEOUT_MS": "500",
        "CAPACITY": "64",
        **settings,
    }


def run(stream, count, settings, flags):
    return cargo_local(settings, ["--kinesis", KINESIS, "--stream", stream, "--limit", str(count), *flags])


def cargo_local(settings, flags):
    command = [LOCAL, "--json", *flags]
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    summary = json.loads(done.stdout)
    log = Path(summary["files"]["log"]).read_text()
    assert not [payload for payload in PAYLOADS if payload in log], "a log line shows a payload"
    return summary


def check_records(name, ids, predicted, dead, summary, started, may_repeat=False):
    """Checks that every record is predicted or dead-lettered, and not repeated without a cause."""
    predicted = [json.loads(line) for line in predicted]
    dead = [json.loads(line) for line in dead]
    seen = Counter(envelope["eventId"] for envelope in predicted + dead)
    lost = [record for record in ids if record not in seen]
    assert not lost, f"{name}: {len(lost)} records are lost, such as {lost[:3]}"
    assert len(seen) == len(ids), f"{name}: there are records that are not in the stream"
    assert all("output" in envelope for envelope in predicted) and all("reason" in envelope for envelope in dead)
    repeated = sum(seen.values()) - len(seen)
    assert may_repeat or repeated == 0, f"{name}: {repeated} records are repeated"
    faults = summary.get("faults", {})
    print(
        f"{name}: {len(ids)} records, {len(set(e['eventId'] for e in predicted))} predicted, "
        f"{len(set(e['eventId'] for e in dead))} dead letters, {repeated} repeated, "
        f"{summary.get('redelivered', '?')} redelivered, faults {faults}, {time.time() - started:.1f} s",
        flush=True,
    )
    return dead


# Parts of a transaction, of a transaction in base64, and of a response.
PAYLOADS = ["merchant_category", "eyJ0aW1l", '"score']
FAULTS = ["--throttle", "5%", "--error-rate", "3%", "--hang-rate", "0.5%", "--max-retries", "-1"]
LANES = ["--parallelization-factor", "2", "--batch-size", "500"]


def kinesis_to_kinesis():
    ids, started = fill_stream("source-kinesis", 10_000), time.time()
    make_stream("scores")
    s3.create_bucket(Bucket="dead-letters")
    settings = {"OUTPUT": "kinesis:scores", "DEAD_LETTER": "s3:dead-letters/fraud"}
    summary = run("source-kinesis", len(ids), settings, FAULTS + LANES + ["--refuse-rate", "1%"])
    dead = check_records("kinesis", ids, in_stream("scores"), in_bucket("dead-letters", "fraud/"), summary, started)
    assert 50 < len(dead) < 200 and all(dead_letter["reason"]["kind"] == "Refused" for dead_letter in dead)


def kinesis_to_itself():
    ids = fill_stream("ouroboros", 10)
    settings = {"OUTPUT": "kinesis:ouroboros"}
    command = [LOCAL, "--kinesis", KINESIS, "--stream", "ouroboros", "--limit", "10", "--max-retries", "0", "--json"]
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "feed itself forever" in done.stdout, done.stdout
    assert len(list(records("ouroboros"))) == len(ids)
    print("kinesis, output to the source stream: refused", flush=True)


def queue(name, fifo=False, **attributes):
    attributes = {"FifoQueue": "true", **attributes} if fifo else attributes
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def check_order(lines):
    """Checks that the messages of each group are in the order of their records."""
    groups = {}
    for envelope in map(json.loads, lines):
        groups.setdefault(envelope["partitionKey"], []).append(int(envelope["eventId"].split(":")[1]))
    assert all(numbers == sorted(numbers) for numbers in groups.values()), "a message overtook another of its group"


def kinesis_to_queues():
    for name, fifo in (("scores", False), ("scores.fifo", True)):
        ids, started = fill_stream(f"source-{name}", 300, keys=7), time.time()
        output, dead = queue(name, fifo), queue(f"dead-{name}", fifo)
        settings = {"OUTPUT": f"sqs:{output}", "DEAD_LETTER": f"sqs:{dead}"}
        summary = run(f"source-{name}", len(ids), settings, FAULTS + ["--refuse-rate", "2%"])
        predicted, dead_letters = in_queue(output), in_queue(dead)
        check_records(f"sqs {name}", ids, predicted, dead_letters, summary, started)
        if fifo:
            check_order(predicted)
            check_order(dead_letters)


def kinesis_to_firehose():
    ids, started = fill_stream("source-firehose", 1000), time.time()
    s3.create_bucket(Bucket="firehose")
    for name in ("scores", "dead"):
        bucket = {"RoleARN": "arn:aws:iam::000000000000:role/firehose", "BucketARN": "arn:aws:s3:::firehose"}
        firehose.create_delivery_stream(
            DeliveryStreamName=name, ExtendedS3DestinationConfiguration={**bucket, "Prefix": f"{name}/"}
        )
    settings = {"OUTPUT": "firehose:scores", "DEAD_LETTER": "firehose:dead"}
    summary = run("source-firehose", len(ids), settings, FAULTS + ["--refuse-rate", "2%"])
    predicted, dead = in_bucket("firehose", "scores/"), in_bucket("firehose", "dead/")
    check_records("firehose", ids, predicted, dead, summary, started)


def kinesis_to_s3_with_kills():
    ids, started = fill_stream("source-s3", 2000), time.time()
    for bucket in ("scores", "dead"):
        s3.create_bucket(Bucket=bucket)
    settings = {"OUTPUT": "s3:scores", "DEAD_LETTER": "s3:dead/letters"}
    flags = FAULTS + ["--refuse-rate", "2%", "--kill", "20%", "--fresh", "10%"]
    summary = run("source-s3", len(ids), settings, flags)
    assert summary["processes"]["killed"] > 0, summary
    check_records("s3, with kills", ids, in_bucket("scores"), in_bucket("dead"), summary, started, may_repeat=True)


def signed_settings(gateway, secret):
    """Returns the settings for calls that are signed with a role, and carry an API key."""
    return {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_STS": gateway.url,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": MOTO,
        "ENDPOINT_AUTH": "sigv4",
        "ENDPOINT_REGION": "eu-west-1",
        "ENDPOINT_SERVICE": "execute-api",
        "ENDPOINT_ROLE_ARN": "arn:aws:iam::123456789012:role/caller",
        "ENDPOINT_API_KEY": f"secretsmanager:{secret}",
    }


def behind_a_url():
    """Signs calls with a role, with an API key from Secrets Manager. Sessions and key change while the stream runs."""
    started = time.time()
    secrets = client("secretsmanager")
    secret = secrets.create_secret(Name="gateway-key", SecretString='{"key":"first"}')["ARN"]
    gateway = Gateway(MOTO, "first")
    out, dead = queue("url-scores"), queue("url-dead")
    ids = fill_stream("url", 500)

    def change_credentials():
        wait_for("the first 100 answers", lambda: gateway.answered > 100)
        with gateway.lock:
            gateway.end_sessions()
        wait_for("the first 250 answers", lambda: gateway.answered > 250)
        with gateway.lock:
            secrets.put_secret_value(SecretId=secret, SecretString='{"key":"second"}')
            gateway.key = "second"

    changing = threading.Thread(target=change_credentials)
    changing.start()
    settings = {
        **signed_settings(gateway, f"{secret}#key"),
        # With a single attempt, a renewal of credentials that counted as an attempt would fail the record.
        "MAX_ATTEMPTS": "1",
        "CAPACITY": "8",
        "CALL_TIMEOUT_MS": "5000",
        "OUTPUT": f"sqs:{out}",
        "DEAD_LETTER": f"sqs:{dead}",
    }
    url = f"{gateway.url}/prod/score?version=2&stage=a%2Fb"
    summary = run("url", len(ids), settings, ["--endpoint", url, "--function", f"'{FUNCTION}'"])
    changing.join()
    refused = Counter(gateway.refused)
    assert set(refused) == {"ExpiredTokenException", "ForbiddenException"}, refused
    # Each of the two shards has a process, and each process has its own sessions.
    assert 2 < len(gateway.sessions) <= 4 and summary["redelivered"] == 0, (len(gateway.sessions), summary)
    check_records("behind a url", ids, in_queue(out), in_queue(dead), summary, started)
    gateway.shutdown()


def rides():
    """Scores ride requests by GET requests whose path and query hold values of the record, signed and with a key."""
    started = time.time()
    secrets = client("secretsmanager")
    secret = secrets.create_secret(Name="rides-key", SecretString="of the plan")["ARN"]
    gateway = Gateway(MOTO, "of the plan")
    path = TOOLS / "rides.jsonl"
    places = ["Tor 1/2", "a b+c&d=e", "50%", "Köln Süd", "..", "", "~x-y_z.", "#?"]
    events = [json.loads(line) for line in (ROOT / "events" / "rides.jsonl").read_text().splitlines()]
    for number, event in enumerate(events):
        event["place"], event["note"] = places[number % len(places)], places[-1 - number % len(places)]
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    settings = {
        **signed_settings(gateway, secret),
        "ENDPOINT_METHOD": "GET",
        "RECORD_PATTERN": '{"type":["ride_request"]}',
        "JOIN_SOURCE": "Input",
        "ALERT": "stdout:",
        "ALERT_PATTERN": '{"output":{"values":{"km":[{"prefix":"5"}]}}}',
    }
    url = f"{gateway.url}/prod/{{$.place}}/fare?km={{$.distance_km}}&note={{$.note}}"
    summary = cargo_local(settings, ["--input", str(path), "--endpoint", url, "--function", f"'{FUNCTION}'"])
    requests = [event for event in events if event["type"] == "ride_request"]
    # These would name another resource.
    good = [event for event in requests if event["place"] not in ("", "..", "Tor 1/2")]
    counts = {name: summary[name] for name in ("predicted", "rejected", "skipped", "redelivered", "alerted")}
    alerted = sum(str(event["distance_km"]).startswith("5") for event in good)
    assert counts == {
        "predicted": len(good),
        "rejected": len(requests) - len(good),
        "skipped": len(events) - len(requests),
        "redelivered": 0,
        "alerted": alerted,
    }, counts
    assert gateway.answered == len(good) and not gateway.refused, (gateway.answered, Counter(gateway.refused))
    for line in map(json.loads, Path(summary["files"]["predictions"]).read_text().splitlines()):
        ride, output = line["input"], line["output"]
        assert output["path"] == ["", "prod", ride["place"], "fare"], line
        assert output["values"] == {"km": str(ride["distance_km"]), "note": ride["note"]}, line
    print(f"rides by GET: {len(events)} events, {counts}, each signature as botocore makes it, "
          f"{time.time() - started:.1f} s", flush=True)
    gateway.shutdown()


def under_cargo_lambda():
    """Runs the function in the emulator of cargo-lambda, and invokes it by URL."""
    if shutil.which("cargo-lambda") is None:
        sys.exit("cargo-lambda is not installed: pip install cargo-lambda")
    ids, started = fill_stream("source-watch", 1000), time.time()
    output = queue("watched")
    endpoint_port, port = free_port(), free_port()
    settings = {
        "OUTPUT": f"sqs:{output}",
        "DEAD_LETTER": "none:",
        "ENDPOINT_NAME": "fraud-detector",
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://127.0.0.1:{endpoint_port}",
        **CREDENTIALS,
    }
    watch = f"cargo lambda watch --invoke-address 127.0.0.1 --invoke-port {port} --ignore-changes"
    with open(TOOLS / "watch.log", "w") as log:
        start = lambda command: subprocess.Popen(
            command, env=environment(settings), cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
        processes = [start([LOCAL, "endpoint", "--port", str(endpoint_port)]), start(watch.split())]
        try:
            # The first invocation waits for the build.
            url = f"http://127.0.0.1:{port}"
            wait_for("cargo lambda watch", lambda: socket.create_connection(("127.0.0.1", port)).close() or True)
            empty = urllib.request.Request(
                f"{url}/2015-03-31/functions/instream/invocations", data=b'{"Records":[]}', method="POST"
            )
            urllib.request.urlopen(empty, timeout=600).read()
            summary = run("source-watch", len(ids), {}, ["--invoke", url, "--max-retries", "-1"])
        finally:
            for process in processes:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
    check_records("under cargo lambda watch, to sqs", ids, in_queue(output), [], summary, started)


def mlflow():
    """Calls a scikit-learn model in MLflow's scoring server, one call per batch. Checks each record's prediction."""
    url, path = os.environ["MLFLOW_URL"], os.environ["MLFLOW_RECORDS"]
    wait_for("the MLflow server", lambda: urllib.request.urlopen(f"{url}/ping", timeout=5).status == 200)
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    expected = {f"line-{number}": line["expected"] for number, line in enumerate(lines, 1)}
    shapes = {
        "json": {"CONTENT_TYPE": "application/json", "INPUT_FILTER": "$['amount','hour','abroad']"},
        "csv": {
            "CONTENT_TYPE": "text/csv",
            "ACCEPT": "application/json",
            "FEATURES": "$.amount,$.hour,$.abroad",
            # Without a header, the server reads the first record as the column names.
            "CSV_HEADER": "amount,hour,abroad",
            # Without it, the list is trusted only after two requests with different numbers of records.
            "PREDICTIONS": "$.predictions",
        },
    }
    # The probabilities of both classes. The last digit may depend on the number of records in a request.
    is_close = lambda one, other: len(one) == len(other) == 2 and all(map(math.isclose, one, other))
    outputs = {}
    for name, settings in shapes.items():
        started = time.time()
        # The server's first response takes longer than the others.
        settings = {"BATCH_STRATEGY": "MultiRecord", "CALL_TIMEOUT_MS": "10000", **settings}
        summary = cargo_local(settings, ["--model-server", url, "--input", path])
        assert summary["records"] == summary["predicted"] == len(lines) and summary["rejected"] == 0, summary
        requests = math.ceil(len(lines) / 100)
        confirmations = summary["calls"] - requests
        assert 0 <= confirmations <= (0 if "PREDICTIONS" in settings else 2 * requests), summary
        # The next run overwrites the file.
        envelopes = map(json.loads, Path(summary["files"]["predictions"]).read_text().splitlines())
        outputs[name] = {envelope["partitionKey"]: envelope["output"] for envelope in envelopes}
        assert outputs[name].keys() == expected.keys()
        wrong = [key for key, prediction in expected.items() if not is_close(outputs[name][key], prediction)]
        assert not wrong, f"mlflow, {name}: {len(wrong)} records have a wrong prediction, such as {wrong[:3]}"
        print(
            f"mlflow, {name}: {len(lines)} records, {summary['predicted']} predicted, same as the model, "
            f"in {summary['calls']} calls, {time.time() - started:.1f} s",
            flush=True,
        )
    assert all(is_close(outputs["json"][key], outputs["csv"][key]) for key in expected), "CSV and JSON differ"


def model_servers():
    """Calls real model servers in both strategies, with one bad record. Checks each record's prediction."""
    good = [{"id": f"r-{number}", "amount": number + 0.5, "hour": number % 24} for number in range(1, 22)]
    records = {f"line-{number}": record for number, record in enumerate(good, 1)}
    bad = "line-11"
    records[bad]["amount"] = "abc"
    path = TOOLS / "model-servers.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records.values()))
    lines = lambda summary, file: map(json.loads, Path(summary["files"][file]).read_text().splitlines())
    with running(TOOLS) as servers:
        for server, url in servers:
            wait_for(server.name, lambda: is_ready(server, url))
            for strategy in server.strategies:
                started, name = time.time(), f"{server.name}, {strategy}"
                # A server's first response takes longer than the others.
                limits = {"CALL_TIMEOUT_MS": "10000", "GIVE_UP_AFTER_S": "1"}
                settings = {**limits, **server.settings, "BATCH_STRATEGY": strategy}
                flags = ["--model-server", url + server.path, "--input", path, "--max-retries", "-1"]
                summary = cargo_local(settings, flags)
                dead = {line["partitionKey"]: line["reason"]["kind"] for line in lines(summary, "deadLetters")}
                assert dead == {bad: server.reason}, f"{name}: {dead}"
                outputs = [(line["partitionKey"], line["output"]) for line in lines(summary, "predictions")]
                assert sorted(key for key, _ in outputs) == sorted(records.keys() - dead.keys()), name
                wrong = [it for it in outputs if not server.is_prediction(it[1], records[it[0]])]
                assert not wrong, f"{name}: {len(wrong)} records have a wrong prediction, such as {wrong[:3]}"
                print(
                    f"{name}: {len(records)} records, {len(outputs)} predicted, same as the model, 1 dead letter "
                    f"({server.reason}), in {summary['calls']} calls, {time.time() - started:.1f} s",
                    flush=True,
                )


def redrive(settings, flags, code=0):
    command = [REDRIVE, "--json", *flags]
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True, timeout=300)
    assert done.returncode == code, f"{done.returncode}:\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def message_count(url):
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"])


def on_failure_message(ids, stream, missing=0):
    """Returns the first ten records of a shard, and the message that the mapping sends if it discards them.

    The message counts `missing` more records, which are not in the stream.
    """
    shard = min(ids).split(":")[0]
    first = sorted((record for record in ids if record.startswith(shard)), key=lambda record: int(record.split(":")[1]))[:10]
    batch = {
        "shardId": shard,
        "startSequenceNumber": first[0].split(":")[1],
        "endSequenceNumber": first[-1].split(":")[1],
        "batchSize": len(first) + missing,
        "streamArn": stream_arn(stream),
    }
    return first, json.dumps({"requestContext": {"condition": "RecordAgeExceeded"}, "KinesisBatchInfo": batch})


def redrive_from_s3_and_sqs():
    """Redrives dead letters from S3 and from a queue, through the function and to a stream."""
    started = time.time()
    s3.create_bucket(Bucket="to-redrive")
    dead, scores, batches = (queue(f"redrive-{name}") for name in ("dead", "scores", "batches"))
    # With a wrong setting, each record is rejected.
    reject = {"OUTPUT": "none:", "MAX_PAYLOAD_BYTES": "10"}
    in_s3, in_sqs = fill_stream("redrive-s3", 60), fill_stream("redrive-sqs", 40)
    run("redrive-s3", len(in_s3), {**reject, "DEAD_LETTER": "s3:to-redrive/letters"}, [])
    run("redrive-sqs", len(in_sqs), {**reject, "DEAD_LETTER": f"sqs:{dead}"}, [])
    sqs.send_message(QueueUrl=dead, MessageBody="not a dead letter")
    sources, settings = ["s3://to-redrive/letters", f"sqs:{dead}"], {"OUTPUT": f"sqs:{scores}", "DEAD_LETTER": "none:"}
    through = ["--function", f"'{FUNCTION}'", "--yes"]
    dry = redrive(settings, [*sources, *through[:2]], code=1)
    assert dry["survey"]["records"] == 100 and dry["survey"]["reasons"] == {"PayloadTooLarge": 100}, dry
    assert message_count(dead) == 41 and message_count(scores) == 0, "the dry run changed a queue"
    summary = redrive(settings, [*sources, *through], code=1)
    counts = summary["counts"]
    assert (counts["finished"], counts["unreadable"]) == (100, 1), summary
    assert message_count(dead) == 1, "a message that is not a dead letter must stay in the queue"
    check_records("redrive, from s3 and sqs", in_s3 + in_sqs, in_queue(scores), [], summary, started)
    repeated = redrive(settings, [sources[0], *through])
    assert (repeated["counts"]["doneBefore"], repeated["counts"]["sent"]) == (60, 0), repeated

    make_stream("redriven")
    back = redrive({}, [sources[0], "--to-stream", "redriven", "--batch-size", "500", "--yes"])
    assert back["counts"]["finished"] == 60, back
    content = lambda stream: Counter((record["PartitionKey"], record["Data"]) for record in records(stream))
    assert content("redriven") == content("redrive-s3"), "the data or the keys differ from the original records"

    first, whole = on_failure_message(in_s3, "redrive-s3")
    partly = on_failure_message(in_sqs, "redrive-sqs", missing=3)
    sqs.send_message(QueueUrl=batches, MessageBody=whole)
    sqs.send_message(QueueUrl=batches, MessageBody=partly[1])
    summary = redrive({**settings, "DEAD_LETTER": f"sqs:{dead}"}, [f"sqs:{batches}", *through], code=1)
    assert (summary["counts"]["finished"], summary["counts"]["gone"]) == (20, 3), summary
    assert {json.loads(line)["eventId"] for line in in_queue(scores)} == {*first, *partly[0]}
    assert message_count(batches) == 1, "a message with missing records must stay in the queue"
    print(f"redrive, to and from a stream: {time.time() - started:.1f} s", flush=True)


def run_with_model(name, members, model, settings={}, queue_attributes={}):
    """Sends ten records through the function, in one batch of the last shard. One in the middle has these members.

    Checks that it is dead-lettered and that its neighbours are predicted. Returns its data, its dead letter and the
    summary.
    """
    started = time.time()
    data = [json.dumps({"number": n, **(members if n == 5 else {})}).encode() for n in range(10)]
    entries = [{"Data": line, "PartitionKey": f"card-{n}", **LAST_SHARD} for n, line in enumerate(data)]
    ids = put_records(f"source-{name}", entries)
    output, dead = queue(f"{name}-scores", **queue_attributes), queue(f"{name}-dead")
    settings = {"OUTPUT": f"sqs:{output}", "DEAD_LETTER": f"sqs:{dead}", **CREDENTIALS, **settings}
    flags = ["--endpoint", model.url, "--function", f"'{FUNCTION}'", "--max-retries", "-1"]
    summary = run(f"source-{name}", len(ids), settings, flags)
    [letter] = check_records(name, ids, in_queue(output), in_queue(dead), summary, started)
    assert letter["eventId"] == ids[5], letter
    return data[5], letter, summary


def large_record_that_is_refused():
    """Redrives a record whose dead letter has only its position: to a stream, and through the function."""
    members = {"answer": "refusal", "padding": os.urandom(450_000).hex()}
    data, letter, summary = run_with_model("large", members, Model(refusal=(422, b"{}")))
    assert summary["batches"] == 1 and letter["reason"]["kind"] == "Refused" and "data" not in letter, summary
    shard, number = letter["eventId"].split(":")
    place = {"streamArn": stream_arn("source-large"), "shardId": shard, "sequenceNumber": number}
    sha256 = hashlib.sha256(data).hexdigest()
    assert letter["payload"] == {"bytes": len(data), "sha256": sha256, **place}, letter

    make_stream("large-again")
    mended, dead, scores = Model(), queue("large-letters"), queue("large-redriven")
    settings = {"OUTPUT": f"sqs:{scores}", "DEAD_LETTER": "none:", **CREDENTIALS}
    for target in (["--to-stream", "large-again"], ["--endpoint", mended.url, "--function", f"'{FUNCTION}'"]):
        sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(letter))
        counts = redrive(settings, [f"sqs:{dead}", *target, "--yes"])["counts"]
        assert counts["finished"] == 1 and message_count(dead) == 0, counts
    assert [(it["PartitionKey"], it["Data"]) for it in records("large-again")] == [("card-5", data)]
    assert mended.hashes == [sha256], "the model got other bytes"
    assert [json.loads(line)["eventId"] for line in in_queue(scores)] == [letter["eventId"]]
    print("large, redriven to a stream and through the function: same bytes", flush=True)


def prediction_that_the_queue_refuses():
    model = Model(large=(200, json.dumps("x" * 4000).encode()))
    limit = {"MaximumMessageSize": "2048"}
    _, letter, summary = run_with_model("over-the-limit", {"answer": "large"}, model, queue_attributes=limit)
    assert summary["batches"] == 1 and letter["reason"]["kind"] == "PredictionRefused", letter


def answers_that_are_no_predictions():
    """The record is redelivered, because only a record that has failed in an earlier delivery is given up."""
    for name, answer, why in (
        ("cut", (200, b'{"score": 0.5', 14), "the response could not be read"),
        ("html", (200, b"<html>Sign in</html>"), "the content type of the response is JSON, but its body is not"),
    ):
        _, letter, summary = run_with_model(name, {"answer": name}, Model(**{name: answer}), {"GIVE_UP_AFTER_S": "1"})
        assert summary["batches"] > 1 and letter["reason"]["kind"] == "GivenUp", letter
        assert letter["reason"]["message"].endswith(why), letter


SCENARIOS = [
    kinesis_to_kinesis,
    kinesis_to_itself,
    kinesis_to_queues,
    kinesis_to_firehose,
    kinesis_to_s3_with_kills,
    behind_a_url,
    rides,
    prediction_that_the_queue_refuses,
    answers_that_are_no_predictions,
    large_record_that_is_refused,
    redrive_from_s3_and_sqs,
    under_cargo_lambda,
    mlflow,
    model_servers,
]

wait_for("kinesis-local", lambda: kinesis.list_streams() is not None)
wait_for("moto_server", lambda: s3.list_buckets() is not None)
begun = time.time()
for scenario in SCENARIOS:
    if not ONLY or scenario.__name__ in ONLY:
        scenario()
print(f"no record is lost, in {time.time() - begun:.0f} s")
