"""An object that only wraps an array of records: {"version": 1, "data": [...]}, found by its beginning and its end."""

import re

TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
FIELD = TEXT + rb"\s*:\s*(?:" + TEXT + rb"|[-+.\w]++|\{[^{}\[\]]*+\})"
"""A field whose value is a text, a number or a flat object."""
WRAPPING = rb'"(?:data|rows|examples|instances|samples|records|items|dataset|train|results|entries|instructions)"'
WRAPPER = re.compile(rb"\{(?:\s*" + FIELD + rb"\s*,)*+\s*" + WRAPPING + rb"\s*:\s*\[(?=\s*[\[{])")
"""The beginning of an object that only wraps an array: fields about it, then one of the usual keys."""
UNWRAPPED = re.compile(rb"(?:\s*,?\s*" + FIELD + rb")*+\s*\}\s*")
"""The rest of such an object."""
FOLLOWING_KEY = re.compile(rb"\s*,?\s*(" + TEXT + rb")\s*:")
"""The key of what follows the array, where the object holds more."""


def is_rest(text: bytes) -> bool:
    """Whether a text is all that follows the array of such an object."""
    return UNWRAPPED.fullmatch(text) is not None


def following(text: bytes) -> str:
    """Returns how a message about what follows the array names it: by its key; empty for none."""
    key = FOLLOWING_KEY.match(text)
    return f", beginning with {key.group(1).decode('utf-8', 'replace')}: one array is read of a file" if key else ""
