"""A model behind a URL that needs signed calls with an API key. Checks signatures with botocore, an implementation that
is independent of ours.

STS requests are forwarded to another server. The gateway remembers the credentials in the responses, and accepts calls
that are signed with them until `end_sessions` expires them.
"""

import json
import re
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from model import Server


class Gateway(Server):
    def __init__(self, sts, key):
        self.sts, self.key = sts, key
        self.lock = threading.Lock()
        self.sessions, self.ended, self.answered, self.refused = {}, set(), 0, []
        super().__init__(Call)

    def end_sessions(self):
        self.ended |= set(self.sessions)


class Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        with self.server.lock:
            error = self.error_of(b"")
            if error:
                self.server.refused.append(error)
                return self.respond(403, {"message": error}, {"x-amzn-ErrorType": error})
            self.server.answered += 1
        url = urllib.parse.urlsplit(self.path)
        values = {name: value for name, value in urllib.parse.parse_qsl(url.query, keep_blank_values=True)}
        self.respond(200, {"path": [urllib.parse.unquote(part) for part in url.path.split("/")], "values": values})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/":
            return self.assume_role(body)
        with self.server.lock:
            error = self.error_of(body)
            if error:
                self.server.refused.append(error)
                return self.respond(403, {"message": error}, {"x-amzn-ErrorType": error})
            self.server.answered += 1
        if b'"fuel"' in body:
            return self.respond(422, {"message": "fuel is not supported"})
        self.respond(200, {"score": 0.5})

    def error_of(self, body):
        """Returns the name of the error that API Gateway would return, or None."""
        fields = dict(re.findall(r"(Credential|SignedHeaders|Signature)=([^, ]+)", self.headers.get("authorization", "")))
        if len(fields) < 3:
            return "MissingAuthenticationTokenException"
        access_key, _, region, service, _ = fields["Credential"].split("/")
        if access_key in self.server.ended:
            return "ExpiredTokenException"
        credentials = self.server.sessions.get(access_key)
        if not credentials or credentials.token != self.headers.get("x-amz-security-token"):
            return "UnrecognizedClientException"
        signed = {name: self.headers[name] for name in fields["SignedHeaders"].split(";")}
        request = AWSRequest(self.command, f"http://{self.headers['host']}{self.path}", headers=signed, data=body)
        request.context["timestamp"] = self.headers["x-amz-date"]
        auth = SigV4Auth(credentials, service, region)
        to_sign = auth.string_to_sign(request, auth.canonical_request(request))
        if (region, service) != ("eu-west-1", "execute-api") or auth.signature(to_sign, request) != fields["Signature"]:
            return "InvalidSignatureException"
        return None if self.headers.get("x-api-key") == self.server.key else "ForbiddenException"

    def assume_role(self, body):
        headers = {"Content-Type": self.headers["content-type"], "Authorization": self.headers["authorization"]}
        with urllib.request.urlopen(urllib.request.Request(self.server.sts, body, headers)) as response:
            xml = response.read()
        found = [re.search(f"<{name}>(.*?)</{name}>".encode(), xml)[1].decode()
                 for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
        self.server.sessions[found[0]] = Credentials(*found)
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(xml)))
        self.end_headers()
        self.wfile.write(xml)

    def respond(self, status, body, headers=()):
        body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
