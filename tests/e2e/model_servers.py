"""Model servers with the same linear model, and the settings that docs/settings.md has for each."""

import math
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "servers"
ROW, NAMED = "$.amount,$.hour", '{"amount":$.amount,"hour":$.hour}'


@dataclass
class ModelServer:
    """A program in servers/, which takes its port as its argument."""

    name: str
    settings: dict
    # GivenUp for a server that answers 500 to what it cannot read, Refused for one that answers 4xx.
    reason: str
    # Whether a prediction is an object with a score, or the number alone.
    is_object: bool
    strategies: tuple = ("SingleRecord", "MultiRecord")
    path: str = "/invocations"
    health: str = "/health"

    def is_prediction(self, output, record):
        """Returns whether this is the model's prediction for a record, in the server's form."""
        score = output.get("score") if self.is_object and isinstance(output, dict) else output
        return isinstance(score, float) and math.isclose(score, 2 * record["amount"] + record["hour"])


SERVERS = [
    ModelServer("litserve", {"FEATURES": NAMED}, "GivenUp", True, strategies=("SingleRecord",)),
    ModelServer("fastapi", {"FEATURES": NAMED, "REQUEST_TEMPLATE": "array"}, "Refused", True),
    ModelServer("sagemaker_inference", {"FEATURES": ROW, "REQUEST_TEMPLATE": "array"}, "GivenUp", False),
    ModelServer(
        "mlserver",
        {"FEATURES": ROW, "REQUEST_TEMPLATE": "v2", "PREDICTIONS": "$.outputs[0].data"},
        "GivenUp",
        False,
        path="/v2/models/linear/infer",
        health="/v2/models/linear/ready",
    ),
]


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@contextmanager
def running(logs):
    """Starts all servers at once, and yields each with its URL. Stops them with their child processes."""
    ports, processes = [free_port() for _ in SERVERS], []
    try:
        for server, port in zip(SERVERS, ports):
            with open(logs / f"{server.name}.log", "w") as log:
                command = [sys.executable, FOLDER / f"{server.name}_app.py", str(port)]
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        yield [(server, f"http://127.0.0.1:{port}") for server, port in zip(SERVERS, ports)]
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_ready(server, url):
    return urllib.request.urlopen(url + server.health, timeout=5).status == 200
