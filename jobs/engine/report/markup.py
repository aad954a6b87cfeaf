"""Pieces of HTML. Every text that comes from outside passes through `escaped`."""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

# Controls, and what is drawn with no width or turns the direction of the text around it. The two joiners
# (U+200C, U+200D) stay as they are: Persian, Indic scripts and emoji need them to be read.
_UNSEEN = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff])\\1*"
)


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Cell = str | int | float | None


def escaped(text: str) -> Markup:
    r"""The text as HTML, with invisible characters shown by their code point, so that none can hide or reorder it.

    >>> escaped("<b>a\u200b\u200b")
    '&lt;b&gt;a<i>U+200B ×2</i>'
    """
    return Markup(_UNSEEN.sub(_code_point, html.escape(text.replace("\r\n", "\n"))))


def _code_point(found: re.Match[str]) -> str:
    times = len(found.group())
    repeated = f" \xd7{times:,}" if times > 1 else ""
    return f"<i>U+{ord(found.group(1)):04X}{repeated}</i>"


def cell(value: Cell) -> Markup:
    """A value as people read it, as HTML: thousands separated, four digits of a fraction, a dash for none."""
    if isinstance(value, Markup):
        return value
    if value is None or (isinstance(value, float) and value != value):
        return Markup("\u2014")
    if isinstance(value, float):
        return Markup(f"{value:,.4g}")
    return Markup(f"{value:,}") if isinstance(value, int) else escaped(value)


def percent(share: float) -> str:
    """A share in per cent, with a digit after the point where it says something.

    >>> percent(0.5), percent(0.0523), percent(0.00004), percent(0)
    ('50%', '5.2%', 'under 0.1%', '0%')
    """
    if 0 < share < 0.0005:
        return "under 0.1%"
    return f"{share:.1%}".replace(".0%", "%")


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], texts: int = 1) -> Markup:
    """An HTML table; the first `texts` columns are text, the others numbers."""
    kinds = ["text" if position < texts else "number" for position in range(len(columns))]
    head = "".join(f'<th class="{kind}">{escaped(name)}</th>' for kind, name in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{cell(value)}</td>' for kind, value in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return Markup(f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def comparison(title: str, note: str, shares: Iterable[tuple[Any, ...]], more: str = "") -> Markup:
    """A panel with two bars a label: its share of the pool, and of the kept samples.

    shares: (label, of the pool, of the kept), and a further share where `more` names it.
    """
    kind = "share more" if more else "share"
    rows = "".join(
        f'<div class="{kind}"><span class="name">{escaped(label)}</span><div class="bars">'
        f'<div class="fill-dropped" style="width:{100 * pool:.2f}%"></div>'
        f'<div class="fill-kept" style="width:{100 * kept:.2f}%"></div></div>'
        f"<span>{percent(pool)}</span><span>{percent(kept)}</span><span>{_ratio(kept, pool)}</span>"
        f"{''.join(map(_further, further))}</div>"
        for label, pool, kept, *further in shares
    )
    names = '<span class="of-pool">pool</span><span class="of-kept">kept</span><span>ratio</span>'
    names += f"<span>{escaped(more)}</span>" if more else ""
    head = f'<div class="{kind} head"><span></span><span></span>{names}</div>'
    said = f'<p class="note">{escaped(note)}</p>' if note else ""
    return Markup(f'<div class="panel"><h3>By {escaped(title)}</h3>{said}{head}{rows}</div>')


def _further(share: float) -> str:
    return f'<span class="lost">{percent(share)}</span>' if share else "<span>0%</span>"


def _ratio(part: float, whole: float) -> str:
    if not whole:
        return "\u2014"
    ratio = part / whole
    return f"\xd7{ratio:.2f}" if 0 < ratio < 10 else f"\xd7{ratio:,.0f}"


def clipped(text: str, most: int) -> str:
    """The text, cut after so many characters with a note of how many there are; never inside a joined character."""
    if len(text) <= most:
        return text
    end = most
    while end > most - 8 and unicodedata.combining(text[end]):
        end -= 1
    return f"{text[:end]} \u2026 (cut here: {len(text):,} characters in all)"
