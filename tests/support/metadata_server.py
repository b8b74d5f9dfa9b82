"""A loopback server that is a container's credentials endpoint, an instance's metadata (IMDSv2)
and SSO's portal at once, and remembers what it was asked.
"""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SESSION_TOKEN = "imds-session"
ROLE = "/latest/meta-data/iam/security-credentials/"


class MetadataServer:
    def __init__(self):
        self.lasting = timedelta(hours=1)
        self.key_number = 1  # of the credentials that it gives
        self.asked = []  # (path, Authorization) of each request for credentials
        self.status = 200
        self.delay = threading.Event()
        self.delay.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_PUT(self):
                self.answer(SESSION_TOKEN, {"x-aws-ec2-metadata-token-ttl-seconds": "60"})

            def do_GET(self):
                if self.path.startswith("/latest/"):
                    if self.headers["x-aws-ec2-metadata-token"] != SESSION_TOKEN:
                        self.answer("", status=401)
                        return
                    if self.path == ROLE:
                        self.answer("the-role")
                        return
                server.delay.wait(10)
                server.asked.append((self.path, self.headers["Authorization"]))
                if self.path.startswith("/federation/"):
                    self.answer(json.dumps({"roleCredentials": server.sso_credentials()}))
                else:
                    self.answer(json.dumps(server.credentials()), status=server.status)

            def answer(self, text, headers=(), status=200):
                body = text.encode()
                self.send_response(status)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def credentials(self):
        end = datetime.now(timezone.utc) + self.lasting
        return {
            "AccessKeyId": f"AKIDMETA{self.key_number}",
            "SecretAccessKey": "s3cr3t/metadata",
            "Token": f"t0k3n{self.key_number}",
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Code": "Success",
        }

    def sso_credentials(self):
        end = datetime.now(timezone.utc) + self.lasting
        return {
            "accessKeyId": "AKIDSSO",
            "secretAccessKey": "s3cr3t/sso",
            "sessionToken": "t0k3n",
            "expiration": int(end.timestamp() * 1000),
        }

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
