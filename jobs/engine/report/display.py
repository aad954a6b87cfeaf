"""How the report and the card show texts and numbers."""

import re
import unicodedata

from markupsafe import Markup, escape

# Control characters, and characters that have no width or that change the direction of the text around them. The two
# joiners (U+200C, U+200D) stay as they are: Persian, Indic scripts and emoji cannot be read without them.
_UNSEEN = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff])\\1*"
)


def visible(text: str) -> Markup:
    r"""The text as HTML, with each invisible character shown by its code point, so that none can hide or reorder text.

    >>> visible("<b>a\u200b\u200b")
    Markup('&lt;b&gt;a<i>U+200B ×2</i>')
    """
    return Markup(_UNSEEN.sub(lambda found: f"<i>{_code_point(found)}</i>", escape(text.replace("\r\n", "\n"))))


def plain(text: str) -> str:
    r"""The text with each invisible character shown by its code point, for what puts a text out as it is.

    >>> plain("<b>a\u200b\u200b")
    '<b>a[U+200B \xd72]'
    """
    return _UNSEEN.sub(lambda found: f"[{_code_point(found)}]", text.replace("\r\n", "\n"))


def _code_point(found: re.Match[str]) -> str:
    times = len(found.group())
    repeated = f" \xd7{times:,}" if times > 1 else ""
    return f"U+{ord(found.group(1)):04X}{repeated}"


def cell(value: str | float | None) -> str:
    """The value of a table's cell: thousands are separated, a fraction has four digits, and a dash means no value.

    >>> cell(12345), cell(0.123456), cell(None), cell("12345")
    ('12,345', '0.1235', '—', '12345')
    """
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return "\u2014"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def percent(share: float) -> str:
    """A share in per cent, with one digit after the point unless that digit is 0.

    >>> percent(0.5), percent(0.0523), percent(0.00004), percent(0)
    ('50%', '5.2%', 'under 0.1%', '0%')
    """
    if 0 < share < 0.0005:
        return "under 0.1%"
    return f"{share:.1%}".replace(".0%", "%")


def ratio(part: float, whole: float) -> str:
    """How many times as large one share is as another; a dash where the other is 0.

    >>> ratio(0.5, 0.75), ratio(0.5, 0.01), ratio(0.5, 0)
    ('×0.67', '×50', '—')
    """
    if not whole:
        return "\u2014"
    times = part / whole
    return f"\xd7{times:.2f}" if 0 < times < 10 else f"\xd7{times:,.0f}"


def drawn_part(drawn: int, size: int) -> str:
    """Which part of so many samples was drawn, in words."""
    return f"all {size:,}" if drawn == size else f"a random {drawn:,} of the {size:,}"


def clipped(text: str, most: int) -> str:
    """The text, cut after `most` characters with a note of its length, but never between a letter and its accents."""
    if len(text) <= most:
        return text
    end = most
    while end > most - 8 and unicodedata.combining(text[end]):
        end -= 1
    return f"{text[:end]} \u2026 (cut here: {len(text):,} characters in all)"


def markdown_cell(text: str) -> str:
    r"""The text on one line of Markdown, with every character escaped that could end a table's cell or begin HTML.

    >>> markdown_cell("a|b\n<i>")
    'a\\|b &lt;i&gt;'
    """
    flat = " ".join(text.split())
    for special in ("\\", "|", "`", "["):
        flat = flat.replace(special, f"\\{special}")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fence(text: str) -> str:
    """The backticks around a block of Markdown code that no backticks in its text can close."""
    backticks = "```"
    while backticks in text:
        backticks += "`"
    return backticks
