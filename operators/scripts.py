"""The script that a text is written in, by the Unicode blocks of its letters."""

from collections import Counter

import numpy as np

SCRIPT_CHARACTERS = 20_000
"""The number of characters of a text that `script` looks at."""

NO_LETTERS = "no letters"
KANA_SHARE = 0.1
"""A text with a larger share of kana among its Han and kana letters is Japanese."""

SCRIPT_LEFT = 0.1
"""A text is in another script where the old script has a smaller share of its letters."""

# Where each run of Unicode blocks begins, and the script that its letters are counted for; none of "".
BLOCKS = (
    (0x0, ""), (0x41, "Latin"), (0x5B, ""), (0x61, "Latin"), (0x7B, ""), (0xAA, "Latin"), (0xAB, ""), (0xBA, "Latin"),
    (0xBB, ""), (0xC0, "Latin"), (0xD7, ""), (0xD8, "Latin"), (0xF7, ""), (0xF8, "Latin"), (0x2B0, ""),
    (0x370, "Greek"), (0x400, "Cyrillic"), (0x530, "Armenian"), (0x590, "Hebrew"), (0x600, "Arabic"), (0x700, "other"),
    (0x750, "Arabic"), (0x780, "other"), (0x870, "Arabic"), (0x900, "Devanagari"), (0x980, "Bengali"),
    (0xA00, "Gurmukhi"), (0xA80, "Gujarati"), (0xB00, "Odia"), (0xB80, "Tamil"), (0xC00, "Telugu"), (0xC80, "Kannada"),
    (0xD00, "Malayalam"), (0xD80, "Sinhala"), (0xE00, "Thai"), (0xE80, "Lao"), (0xF00, "Tibetan"), (0x1000, "Myanmar"),
    (0x10A0, "Georgian"), (0x1100, "Hangul"), (0x1200, "Ethiopic"), (0x13A0, "other"), (0x1780, "Khmer"),
    (0x1800, "Mongolian"), (0x18B0, "other"), (0x1C80, "Cyrillic"), (0x1C90, "Georgian"), (0x1CC0, "other"),
    (0x1D00, "Latin"), (0x1DC0, ""), (0x1E00, "Latin"), (0x1F00, "Greek"), (0x2000, ""), (0x2C00, "other"),
    (0x2C60, "Latin"), (0x2C80, "other"), (0x2D00, "Georgian"), (0x2D30, "other"), (0x2D80, "Ethiopic"),
    (0x2DE0, "Cyrillic"), (0x2E00, ""), (0x2E80, "Han"), (0x2FF0, ""), (0x3005, "Han"), (0x3008, ""), (0x3041, "Kana"),
    (0x3099, ""), (0x309D, "Kana"), (0x30A0, ""), (0x30A1, "Kana"), (0x30FB, ""), (0x30FC, "Kana"), (0x3100, "other"),
    (0x3130, "Hangul"), (0x3190, "other"), (0x31C0, ""), (0x31F0, "Kana"), (0x3200, ""), (0x3400, "Han"), (0x4DC0, ""),
    (0x4E00, "Han"), (0xA000, "other"), (0xA640, "Cyrillic"), (0xA6A0, "other"), (0xA720, "Latin"), (0xA800, "other"),
    (0xA8E0, "Devanagari"), (0xA900, "other"), (0xA960, "Hangul"), (0xA980, "other"), (0xA9E0, "Myanmar"),
    (0xAA00, "other"), (0xAA60, "Myanmar"), (0xAA80, "other"), (0xAB00, "Ethiopic"), (0xAB30, "Latin"),
    (0xAB70, "other"), (0xAC00, "Hangul"), (0xD800, ""), (0xF900, "Han"), (0xFB00, "Latin"), (0xFB07, "Armenian"),
    (0xFB1D, "Hebrew"), (0xFB50, "Arabic"), (0xFE00, ""), (0xFE70, "Arabic"), (0xFEFD, ""), (0xFF21, "Latin"),
    (0xFF3B, ""), (0xFF41, "Latin"), (0xFF5B, ""), (0xFF66, "Kana"), (0xFFA0, "Hangul"), (0xFFDD, ""),
    (0x10000, "other"), (0x1AFF0, "Kana"), (0x1B170, "other"), (0x1D000, ""), (0x1DF00, "Latin"), (0x1E000, "other"),
    (0x1F000, ""), (0x20000, "Han"), (0x32400, ""),
)  # fmt: skip
STARTS = np.array([start for start, _ in BLOCKS], np.uint32)
SCRIPTS = ("", *sorted({name for _, name in BLOCKS if name}))
SCRIPT_OF = np.array([SCRIPTS.index(name) for _, name in BLOCKS])


def letters_by_script(text: str) -> Counter[str]:
    """The number of letters of each script in a text, Han and Kana apart; scripts without a letter are left out.

    >>> letters_by_script("東京へ GPT")
    Counter({'Latin': 3, 'Han': 2, 'Kana': 1})
    """
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(SCRIPT_OF[np.searchsorted(STARTS, points, side="right") - 1], minlength=len(SCRIPTS))
    return Counter({name: int(count) for name, count in zip(SCRIPTS, counts, strict=True) if name and count})


def script(text: str) -> str:
    """The script of most letters of a text, "Japanese" for Han and kana together, "no letters" where there are none.

    Only the first SCRIPT_CHARACTERS characters count.

    >>> script("Hello"), script("你好, GPT"), script("привет, GPT"), script("東京へ行く"), script("123")
    ('Latin', 'Latin', 'Cyrillic', 'Japanese', 'no letters')
    """
    letters = dict(letters_by_script(text[:SCRIPT_CHARACTERS]))
    kana = letters.pop("Kana", 0)
    both = kana + letters.get("Han", 0)
    if kana > KANA_SHARE * both:
        letters = {name: count for name, count in letters.items() if name != "Han"} | {"Japanese": both}
    elif both:
        letters["Han"] = both
    return max(letters, key=letters.__getitem__, default=NO_LETTERS)


def in_another_script(old: str, new: str) -> bool:
    """Whether few letters of the new text are in the script of most letters of the old one; False without letters.

    >>> in_another_script("列举三种颜色。", "Name three colours."), in_another_script("Name a river.", "Name a lake.")
    (True, False)
    """
    before, after = letters_by_script(old), letters_by_script(new)
    if not before or not after:
        return False
    name, count = before.most_common(1)[0]
    return count * 2 > before.total() and after[name] < SCRIPT_LEFT * after.total()
