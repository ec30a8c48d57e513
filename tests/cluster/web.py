"""The backend of applications in tests: a web server that tells which host and path it was asked for.

Started as `python web.py PORT`; it listens on all addresses of this machine."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def page(host, path):
    return f"hello from {host} at {path}\n"


class Server(ThreadingHTTPServer):
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = page(self.headers.get("Host", ""), self.path).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Server(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
