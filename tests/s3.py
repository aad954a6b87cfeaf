"""An S3 server on this machine (moto's), which the processes of the tests find by their environment.

    def test_a_run(s3):
        run(..., "--out", f"{s3.bucket()}/out")

The port is taken when the tests begin, because Ray's workers get their environment then. Nothing answers there before a
test asks for the server.
"""

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

PORT = socket.create_server(("127.0.0.1", 0))
"""The socket that the server listens at."""

ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"
MESSAGES = {
    "ConditionalRequestConflict": "A conflicting operation occurred during the request.",
    "AccessDenied": "Access Denied",
    "ExpiredToken": "The provided token has expired.",
    "NotImplemented": "A header you provided implies functionality that is not implemented.",
}
STATUSES = {
    "ConditionalRequestConflict": "409 Conflict",
    "AccessDenied": "403 Forbidden",
    "ExpiredToken": "400 Bad Request",
    "NotImplemented": "501 Not Implemented",
}

Fault = Callable[[str, str], str | None]
"""A function of a request's method and path: the code of the error that is answered, or None for the real answer."""


def environment() -> dict[str, str]:
    """The variables by which clients of S3 find the server."""
    return {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{PORT.getsockname()[1]}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class S3:
    """The server, and what it does wrong."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.app: Any = DomainDispatcherApplication(create_backend_app)
        self.fault: Fault | None = None
        self.knows_conditions = True
        """Whether it makes an object only if there is none when it is asked to. Other servers answer NotImplemented."""
        self.names_conditions = True
        """Whether it says which condition an object did not meet, as Amazon's does and MinIO does not."""

    def bucket(self) -> str:
        """A new bucket, as a URL."""
        import fsspec

        name = f"bucket-{uuid.uuid4().hex[:12]}"
        fsspec.filesystem("s3").mkdir(name)
        return f"s3://{name}"

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """The server answers these errors while the block runs."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        code = self.fault and self.fault(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if "HTTP_IF_NONE_MATCH" in environ and not self.knows_conditions:
            code = "NotImplemented"
        if not code and self.names_conditions:
            return self.app(environ, start)
        if not code:
            return [piece.replace(b"Condition>", b"Something>") for piece in self.app(environ, start)]
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(STATUSES[code], [("Content-Type", "application/xml")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [ERROR.format(code, MESSAGES[code]).encode()]


@contextmanager
def served() -> Iterator[S3]:
    """The server, while the block runs."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: Any) -> None:
            """Says nothing."""

    server = S3()
    http = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Quiet, fd=os.dup(PORT.fileno()))
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
