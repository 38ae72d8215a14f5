"""A provider whose answers take two seconds, word by word. Standard library only: it runs in the guest."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = 20


class Slow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number in range(WORDS):
            choice = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.1)
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *args: object) -> None:
        """Log nothing: only the checks' own lines are read."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 9999), Slow).serve_forever()
