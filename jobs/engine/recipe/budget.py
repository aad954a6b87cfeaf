"""The budget: how much to keep, as a number of samples, a share of the pool or a number of tokens."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

_TOKENS = re.compile(r"tokens:(.+?)([kKmMgGbB]?)")
_NUMBER = re.compile(r"[0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+")
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?")
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


def budget_text(value: object) -> str:
    """The budget in its canonical form, such as "6000", "5%" or "tokens:200000"; ValueError for anything else."""
    text = str(value).strip()
    wanted = f"budget {value!r} is none of: a number of samples (6000), a share (5%), tokens (tokens:200k)"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(wanted)
    if match := _TOKENS.fullmatch(text):
        number, scale = match.groups()
        amount = int(_positive(number, wanted) * _SCALE[scale.lower()])
        if not amount:
            raise ValueError(f"{wanted}; and it must be a token or more")
        return f"tokens:{amount}"
    if text.endswith("%"):
        share = _positive(text[:-1], wanted)
        if share > 100:
            raise ValueError(f"budget {value!r} is more than the whole pool")
        return f"{share.normalize():f}%"
    amount = _positive(text, wanted)
    if amount != int(amount):
        raise ValueError(f"{wanted}. A share is written as a percentage: {amount * 100:f}%".replace(".00%", "%"))
    return str(int(amount))


def _positive(text: str, wanted: str) -> Decimal:
    """The positive number in a text, in which commas or underscores may separate thousands.

    wanted: the beginning of the message of the ValueError for any other text.
    """
    text = text.strip()
    if "," in text and not _THOUSANDS.fullmatch(text):
        raise ValueError(f"{wanted}. A comma only separates thousands (12,000): write 2.5%, not 2,5%")
    text = text.replace(",", "")
    if not _NUMBER.fullmatch(text):
        raise ValueError(wanted)
    number = Decimal(text.replace("_", ""))
    if number <= 0:
        raise ValueError(f"{wanted}; and it must be above 0")
    return number


Budget = Annotated[str, BeforeValidator(budget_text)]
