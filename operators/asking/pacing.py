"""How fast a server is asked, and how often again: a rate limit over all threads, and the patience for one question."""

import email.utils
import random
import threading
import time
from collections.abc import Iterable, Mapping

PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before a question is asked again, and the maximum; each pause is up to twice the one before."""


class Pace:
    """A rate limit over all threads: at most one request within a number of seconds; 0 for no limit."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.next = 0.0
        self.lock = threading.Lock()

    def wait(self) -> float:
        """Returns when the caller may send its request: the seconds that it waited."""
        if not self.seconds:
            return 0.0
        began = time.monotonic()
        with self.lock:
            turn = max(self.next, began)
            self.next = turn + self.seconds
        time.sleep(max(0.0, turn - time.monotonic()))
        return time.monotonic() - began


class Patience:
    """What is left of the time that a question may take, however often it is asked."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.tries = 0

    def left(self) -> float:
        """The seconds that are left; at least 0."""
        return max(0.0, self.until - time.monotonic())

    def add(self, seconds: float) -> None:
        """Adds time that the question has waited for its turn."""
        self.until += seconds

    def again(self, tries: float, seconds: float = 0.0) -> bool:
        """Whether to ask again, for at most this many tries; if so, it returns after a pause.

        seconds: the least pause, which the server may have asked for. False where it takes more than what is left.
        """
        self.tries += 1
        pause = min(PAUSE * 2 ** (self.tries - 1), LONGEST_PAUSE) * random.uniform(0.5, 1)
        pause = max(seconds, pause)
        if self.tries >= tries or pause >= self.left():
            return False
        time.sleep(pause)
        return True


def joined_until(until: float, pieces: Iterable[bytes]) -> bytes:
    """The pieces of a body as they arrive; TimeoutError where they still arrive at that time (`time.monotonic`).

    The timeout of an HTTP client is for each piece. A server that sends a blank now and then, so that nobody closes the
    connection, never reaches it.
    """
    body = bytearray()
    for piece in pieces:
        body += piece
        if time.monotonic() > until:
            raise TimeoutError
    return bytes(body)


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds in a reply's Retry-After, a number or a date; 0 where there is none, or neither."""
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
        return seconds if seconds > 0 else 0.0  # also for nan
    except ValueError:
        date = email.utils.parsedate_tz(said)
    try:
        return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else 0.0
    except (ValueError, OverflowError):  # no such day
        return 0.0
