"""A model behind a URL. The member `answer` of a record names its answer."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Model(Server):
    """Has a status, a body and perhaps a wrong content-length for each answer. Other records get a score."""

    def __init__(self, **answers):
        self.answers, self.hashes = answers, []
        super().__init__(Call)


class Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        record = self.rfile.read(int(self.headers["content-length"]))
        self.server.hashes.append(hashlib.sha256(record).hexdigest())
        answer = self.server.answers.get(json.loads(record).get("answer"), (200, b'{"score": 0.5}'))
        status, body, length = (*answer, len(answer[1]))[:3]
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length != len(body)
