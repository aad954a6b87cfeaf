"""Access to an OpenAI-compatible server: whether one answers at a URL and takes the key, and errors without the key."""

import os
from urllib.parse import urlsplit

from operators.missing import ModelMissing

KEY = "OPENAI_API_KEY"
CHECK_SECONDS = 10.0


def check_server(url: str) -> None:
    """Raises ModelMissing where no server answers at the URL, or it refuses the key."""
    import httpx

    not_a_url = ModelMissing(f"endpoint {url!r} is not a URL; give one such as http://host:8000/v1")
    try:
        parts = urlsplit(url)
    except ValueError:  # such as an IPv6 address without its second bracket
        raise not_a_url from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise not_a_url
    sent = key()
    if not (sent.isascii() and sent.isprintable()):
        raise ModelMissing(f"the key in {KEY} has a character that no key has; set {KEY} to the key alone")
    headers = {"Authorization": f"Bearer {sent}"} if sent else {}
    try:
        status = httpx.get(f"{url.rstrip('/')}/models", headers=headers, timeout=CHECK_SECONDS).status_code
    except httpx.InvalidURL:
        raise not_a_url from None
    except httpx.ReadTimeout:
        return  # the server is there, and busy
    except httpx.HTTPError as error:
        raise ModelMissing(f"no server answers at {url}: {said_by(error)}. Start it, or correct the URL") from None
    if status in (401, 403):
        raise ModelMissing(key_refused(url, status))


def key_refused(url: str, status: int) -> str:
    """Says that the server refuses the key, and what to do."""
    how = f"set {KEY} to one it takes" if key() else f"no {KEY} is set in the environment"
    return f"{url} refuses the key (HTTP {status}): {how}"


def key() -> str:
    """The key, empty for none; one that is read from a file often ends with a line break, which no header may have."""
    return os.environ.get(KEY, "").strip()


def said_by(error: Exception) -> str:
    """The first line of an error, without the key."""
    return _line(str(error)) or type(error).__name__


def _line(said: str) -> str:
    """The first line of a message, without the key, which servers may quote."""
    secret = key()
    line = next(iter(said.strip().splitlines()), "")[:500]
    return line.replace(secret, "***") if secret else line
