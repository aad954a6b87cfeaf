"""A scripted OpenAI-compatible server: what it answers is a function of the request that it is sent.

    with served(lambda request: said("42")) as server:
        Judge(endpoint=server.url)

A reply is a text, a body as `said` makes it, a raw (status, headers, body), the pieces of a body, or None for a
connection that is closed without a word. A function may sleep before it answers; requests are served at the same time,
each in a thread.
"""

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = str | dict[str, Any] | tuple[int, Mapping[str, str], bytes] | Iterator[bytes] | None


def said(text: str, finish: str = "stop", masses: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The body of an answer; `masses` are the probabilities of tokens to be the first one."""
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text},
        "logprobs": None,
    }
    if masses:
        tops = [{"token": token, "logprob": math.log(mass), "bytes": None} for token, mass in masses.items()]
        choice["logprobs"] = {"content": [{**tops[0], "top_logprobs": tops}], "refusal": None}
    return {"id": "made", "object": "chat.completion", "created": 0, "model": "scripted", "choices": [choice]}


def failed(status: int, message: str = "scripted", seconds: float | None = None) -> tuple[int, dict[str, str], bytes]:
    """An error as such servers give it; `seconds` is what Retry-After says."""
    headers = {} if seconds is None else {"Retry-After": f"{seconds:g}"}
    return status, headers, json.dumps({"error": {"message": message, "type": "scripted", "code": status}}).encode()


def prompt(request: Mapping[str, Any]) -> str:
    """The contents of a request's messages, a blank line between."""
    return "\n\n".join(message["content"] for message in request["messages"])


class Server:
    """The server, and what it has been asked."""

    def __init__(self, reply: Callable[[dict[str, Any]], Reply]) -> None:
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        """The requests for an answer, in the order in which they came."""
        self.headers: list[dict[str, str]] = []
        """The headers of each of them, by lower-case name."""
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        """What an `endpoint` field takes."""
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        """What each request asked."""
        return [prompt(request) for request in self.requests]


@contextmanager
def served(reply: Callable[[dict[str, Any]], Reply]) -> Iterator[Server]:
    """A server that answers so, on a free port of this machine, while the block runs."""
    server = Server(reply)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30  # an idle connection that a client keeps open ends by itself

        def do_GET(self) -> None:
            self._send(200, {}, b'{"object": "list", "data": [{"id": "scripted", "object": "model"}]}')

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(request)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            reply = server.reply(request)
            self.close_connection = reply is None
            if isinstance(reply, Iterator):
                _send_pieces(self, reply)
            elif reply is not None:
                self._send(*(reply if isinstance(reply, tuple) else (200, {}, _body(reply))))

        def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            length = str(len(body))
            for name, value in {"Content-Type": "application/json", "Content-Length": length, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    return Handler


def _send_pieces(handler: BaseHTTPRequestHandler, pieces: Iterator[bytes]) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")
    except OSError:  # nobody listens any more
        handler.close_connection = True


def _body(reply: str | dict[str, Any]) -> bytes:
    return json.dumps(said(reply) if isinstance(reply, str) else reply).encode()


@contextmanager
def dashboard(replies: Mapping[str, tuple[int, Any]]) -> Iterator[str]:
    """The address of a server that answers each path with a status and a content; with 404 what is not told.

    A key may begin with a method, such as "POST /api/jobs/". A content that is not bytes is sent as JSON.
    """

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            key = self.path if self.command == "GET" else f"{self.command} {self.path}"
            status, content = replies.get(key, (404, {}))
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
