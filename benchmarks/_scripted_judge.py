"""A server that answers as OpenAI's do, by a rule: it rates, rewrites and responds without a model.

A rating is 5 of 5 (or 100 of 100) for a response of 60 to 1,500 characters with more than a dozen different words that
do not repeat themselves much, and a fifth less for each of these that fails. That is a judge of form, of texts with
blanks between words; it cannot see that an answer is wrong.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def answered(request: Mapping[str, Any]) -> str:
    """What the server says to a request."""
    asked = "\n".join(message["content"] for message in request["messages"])
    prompt, quoted = _parts(asked)
    if "You refine" in prompt:
        return f"Revised prompt: {quoted[0].strip()} Give a reason." if quoted else "Revised prompt: Why?"
    return _rating(100 if "100" in prompt else 5, quoted[-1]) if quoted else f"In short: {asked[-120:]}"


def _parts(asked: str) -> tuple[str, list[str]]:
    """The prompt's own words, and the texts that it quotes, each between two lines that carry its mark, in order."""
    mark = re.search(r"the mark (\w+);", asked)
    if mark is None:
        return asked, []
    own: list[str] = []
    found: list[list[str]] = []
    inside = False
    for line in asked.splitlines():
        if mark[1] in line and mark[0] not in line:
            inside = not inside
            found += [[]] if inside else []
        else:
            (found[-1] if inside else own).append(line)
    return "\n".join(own), ["\n".join(lines) for lines in found]


def _rating(scale: int, response: str) -> str:
    words = re.findall(r"\w+", response.lower())
    marks = (60 <= len(response) <= 1500) + (len(set(words)) > 12) + (len(set(words)) > 0.4 * len(words))
    return f"{scale * (2 + marks) / 5:g}"


@contextmanager
def serving(port_file: Path) -> Iterator[str]:
    """The address of the server while the block runs, as an `endpoint` field takes it.

    port_file: keeps the port for the next time, as an address is one of the fields that a run is known again by.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

        def do_POST(self) -> None:
            text = answered(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}
            self._send({"id": "made", "object": "chat.completion", "created": 0, "model": "s", "choices": [choice]})

        def _send(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    port = int(port_file.read_text()) if port_file.exists() else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    port_file.write_text(f"{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
