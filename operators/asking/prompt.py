"""The prompt: what a judge or a rewriter is asked, as a text file that sample texts are put into.

    [system]
    You rate answers.
    [user]
    Rate the response from {lowest} to {highest}.
    The sample lies between lines with the mark {mark}.
    {response}
    Now write the score alone on the first line.

The two headings stand alone on a line; `[system]` may be left out. Placeholders are written as for str.format,
a literal brace doubled. Settings (trusted) are inserted as they are. Texts (a sample's, not trusted) stand alone on
a line, in the user part, and are inserted as a block between two lines that carry a mark which no text contains:
nothing that a text says can close its own block. No text is ever formatted, so its braces are only braces.

A judge server keeps what equal beginnings of prompts cost to read. Write the rubric first, the samples last, and
mention the mark, which differs from sample to sample, only right before them.
"""

import functools
import hashlib
import itertools
import json
import re
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path

from pydantic.dataclasses import dataclass

from operators.base import STRICT
from operators.sample import Message

FOLDER = Path(__file__).parents[1] / "prompts"
HEADINGS = {"[system]": "system", "[user]": "user"}
MARK = "mark"
MARK_DIGITS = 12

# The control tokens of widespread chat templates; those of one tokenizer are given by the caller.
CONTROL = (
    r"<\|[^<>|\n]{1,40}\|>",
    r"<｜[^<>｜\n]{1,40}｜>",
    r"<(?:start|end)_of_turn>",
    r"<</?SYS>>",
    r"\[/?INST\]",
    r"</?s>",
    r"<(?:bos|eos)>",
)

Texts = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, config=STRICT)
class Prompt:
    """A prompt by the name of one that comes with Winnow, or by the path of a text file."""

    name: str

    def identity(self) -> dict[str, str]:
        """Hex SHA-256 of the file's text; where the file lies and how its lines end do not enter."""
        return {"content": hashlib.sha256(self._text().encode()).hexdigest()}

    def template(self) -> "Template":
        """The parsed file; ValueError where it is missing, not UTF-8, or not a template."""
        return Template.parsed(self._text(), self.name)

    def _text(self) -> str:
        shipped = {path.stem: path for path in FOLDER.glob("*.txt")}
        path = shipped.get(self.name, Path(self.name).expanduser())
        if not path.is_file():
            raise ValueError(f"prompt {self.name}: no such file; the prompts there are: {', '.join(sorted(shipped))}")
        try:
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"prompt {self.name}: not UTF-8 at byte {error.start}") from error


@functools.cache
def opened(prompt: Prompt) -> "Template":
    """The prompt's template, read once in a process."""
    return prompt.template()


@plain_dataclass(frozen=True)
class Line:
    """One line of a template: literal texts and, after each but the last, the name of a placeholder."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def alone(self) -> bool:
        """Whether the line is a placeholder and nothing else."""
        return len(self.names) == 1 and not any(self.literals)

    def filled(self, values: Mapping[str, str]) -> str:
        """The line with a value for each placeholder."""
        pieces = [literal + values[name] for literal, name in zip(self.literals, self.names, strict=False)]
        return "".join(pieces) + self.literals[-1]


@plain_dataclass(frozen=True)
class Template:
    """A parsed prompt."""

    file: str
    """What errors call it."""
    parts: tuple[tuple[str, tuple[Line, ...]], ...]
    """A role (system, user) with its lines, in order."""

    @classmethod
    def parsed(cls, text: str, file: str) -> "Template":
        """The template that a text is; ValueError naming the file and the line where it is none."""
        parts: dict[str, list[Line]] = {}
        lines: list[Line] | None = None
        for number, line in enumerate(text.split("\n"), start=1):
            role = HEADINGS.get(line.strip())
            if role is not None:
                if role in parts or "user" in parts:
                    raise ValueError(f"prompt {file}, line {number}: one [system], then one [user], and nothing else")
                lines = parts[role] = []
            elif lines is not None:
                lines.append(_line(line, f"prompt {file}, line {number}"))
            elif line.strip():
                raise ValueError(f"prompt {file}, line {number}: a prompt begins with [system] or [user]")
        if "user" not in parts:
            raise ValueError(f"prompt {file}: there is no [user] part")
        return cls(file, tuple((role, _trimmed(lines)) for role, lines in parts.items()))

    @property
    def names(self) -> frozenset[str]:
        """The placeholders that the template uses, the mark aside."""
        used = {name for _, lines in self.parts for line in lines for name in line.names}
        return frozenset(used - {MARK})

    def check(self, texts: Collection[str], settings: Collection[str] = (), offered: Collection[str] = ()) -> None:
        """ValueError naming the file and the placeholder where these texts and settings do not fill the template.

        texts, settings: needed, each has to be used; offered: settings that may be used.
        """
        needed = {*texts, *settings}
        for name in sorted(needed - self.names):
            raise ValueError(f"prompt {self.file}: the placeholder {{{name}}} is missing")
        for name in sorted(self.names - needed - {*offered}):
            known = ", ".join(sorted({*needed, *offered, MARK}))
            raise ValueError(f"prompt {self.file}: unknown placeholder {{{name}}}; there are: {known}")
        for role, lines in self.parts:
            for name in sorted({name for line in lines for name in line.names} & {*texts}):
                if role == "system" or not all(line.alone for line in lines if name in line.names):
                    raise ValueError(f"prompt {self.file}: {{{name}}} stands alone on a line of the [user] part")

    def messages(self, texts: Texts, settings: Mapping[str, object], tokens: Collection[str] = ()) -> list[Message]:
        """The conversation to ask a model with; ValueError where `check` would raise it.

        texts: a sample's, by placeholder; a list of texts becomes as many blocks, numbered from [1]. settings:
        anything that str() spells. tokens: further strings, such as a tokenizer's special tokens, to break in
        the texts like the control tokens known here.
        """
        self.check(texts, offered=settings)
        harmless = {name: _each(text, tokens) for name, text in texts.items()}
        mark = _unused_mark(harmless)
        values = {name: str(setting) for name, setting in settings.items()}
        values |= {name: _blocks(name, text, mark) for name, text in harmless.items()} | {MARK: mark}
        return [
            {"role": role, "content": "\n".join(line.filled(values) for line in lines)} for role, lines in self.parts
        ]


def control_tokens(text: str, tokens: Collection[str] = ()) -> list[str]:
    """The control tokens in a text, in order: worth a flag, no reason to drop a sample (HTML has <s> as well)."""
    return _control(tuple(tokens)).findall(text)


def without_control(text: str, tokens: Collection[str] = ()) -> str:
    """The text with a space after the first character of each control token, as in `< |im_end|>`.

    A plain space: a tokenizer may drop a zero-width one before it looks for its special tokens. ValueError for a
    token of a single character, which no space can break.
    """
    control = _control(tuple(tokens))
    while control.search(text):  # again: breaking one token may leave another that overlapped it
        text = control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    return text


@functools.lru_cache(maxsize=64)
def _control(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """Matches a control token; blanks around a token do not count, so that breaking what is left breaks it."""
    bare = sorted({token.strip() for token in tokens}, key=lambda token: (-len(token), token))
    for token in bare:
        if len(token) < 2:
            raise ValueError(f"a control token has two characters or more, not {token!r}")
    return re.compile("|".join([*map(re.escape, bare), *CONTROL]))


def _line(line: str, where: str) -> Line:
    try:
        pieces = list(string.Formatter().parse(line))
    except ValueError as error:
        raise ValueError(f"{where}: {error}; a literal brace is written twice") from error
    literals, names = [""], []
    for literal, name, form, conversion in pieces:
        literals[-1] += literal
        if name is None:
            continue
        if not name.isidentifier() or form or conversion:
            raise ValueError(f"{where}: a placeholder is a plain name in braces, not {{{name}}} with anything else")
        names.append(name)
        literals.append("")
    return Line(tuple(literals), tuple(names))


def _trimmed(lines: list[Line]) -> tuple[Line, ...]:
    """The lines without the blank ones at the beginning and the end."""
    filled = [at for at, line in enumerate(lines) if line.names or line.literals[0].strip()]
    return tuple(lines[filled[0] : filled[-1] + 1]) if filled else ()


def _each(text: str | Sequence[str], tokens: Collection[str]) -> str | list[str]:
    if isinstance(text, str):
        return without_control(text, tokens)
    return [without_control(one, tokens) for one in text]


def _unused_mark(texts: Texts) -> str:
    """Hex digits that no text contains; the same for the same texts."""
    whole = json.dumps(texts, ensure_ascii=False, sort_keys=True)
    numbered = (f"{number} {whole}".encode("utf-8", "surrogatepass") for number in itertools.count())
    marks = (hashlib.sha256(seed).hexdigest()[:MARK_DIGITS] for seed in numbered)
    return next(mark for mark in marks if mark not in whole)


def _blocks(name: str, text: str | Sequence[str], mark: str) -> str:
    if isinstance(text, str):
        return _block(name, text, mark)
    return "\n".join(_block(f"[{number}]", one, mark) for number, one in enumerate(text, start=1))


def _block(label: str, text: str, mark: str) -> str:
    return f"=== {label} {mark} ===\n{text}\n=== end of {label} {mark} ==="
