"""The prompt for a judge or a rewriter: a text file into which the texts of a sample are inserted.

    [system]
    You rate answers.
    [user]
    Rate the response from {lowest} to {highest}.
    The sample lies between lines with the mark {mark}.
    {response}
    Now write the score alone on the first line.

Each heading is alone on its line; `[system]` may be left out. Placeholders are written as for str.format, and a literal
brace is doubled. Settings are trusted and inserted unchanged. The texts of a sample are not trusted. Their placeholders
are alone on a line of the user part. A text is inserted as a block between two lines with a mark that no text contains,
so a text cannot close its own block. Texts are never formatted; their braces stay braces.

A server reuses its work on equal beginnings of prompts. Write the rubric first and the sample last, and mention the
mark, which differs between samples, only directly before the sample.
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

# The control tokens of common chat templates; the caller adds those of one tokenizer.
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
    """A prompt, by the name of one that comes with Winnow or by the path of a text file."""

    name: str

    def identity(self) -> dict[str, str]:
        """Hex SHA-256 of the text of the file; its path and its line endings do not enter."""
        return {"content": hashlib.sha256(self._text().encode()).hexdigest()}

    def template(self) -> "Template":
        """The parsed file; ValueError where it is missing, not UTF-8 or not a template."""
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
    """The template of the prompt, read once per process."""
    return prompt.template()


@plain_dataclass(frozen=True)
class Line:
    """One line of a template: literal texts, and the name of a placeholder after each but the last."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def alone(self) -> bool:
        """Whether the line is a single placeholder."""
        return len(self.names) == 1 and not any(self.literals)

    def filled(self, values: Mapping[str, str]) -> str:
        """The line with the value of each placeholder."""
        pieces = [literal + values[name] for literal, name in zip(self.literals, self.names, strict=False)]
        return "".join(pieces) + self.literals[-1]


@plain_dataclass(frozen=True)
class Template:
    """A parsed prompt."""

    file: str
    """Its name in error messages."""
    parts: tuple[tuple[str, tuple[Line, ...]], ...]
    """Pairs of a role (system, user) and its lines, in order."""

    @classmethod
    def parsed(cls, text: str, file: str) -> "Template":
        """The template in a text; ValueError, with file and line, where the text is not one."""
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
        """The placeholders in the template, without the mark."""
        used = {name for _, lines in self.parts for line in lines for name in line.names}
        return frozenset(used - {MARK})

    def check(self, texts: Collection[str], settings: Collection[str] = (), offered: Collection[str] = ()) -> None:
        """ValueError, with file and placeholder, where these texts and settings do not fit the template.

        texts, settings: the template has to use each of them. offered: settings that it may use.
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
                    raise ValueError(f"prompt {self.file}: {{{name}}} has to be alone on a line of the [user] part")

    def messages(self, texts: Texts, settings: Mapping[str, object], tokens: Collection[str] = ()) -> list[Message]:
        """The messages to ask a model with; ValueError as `check`.

        texts: of a sample, by placeholder; a list of texts becomes that many blocks, numbered from [1]. settings: by
        placeholder; they are converted with str(). tokens: further strings to break in the texts as control tokens,
        such as the special tokens of a tokenizer.
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
    """The control tokens in a text, in order; a reason for a flag only, as HTML has <s> too."""
    return _control(tuple(tokens)).findall(text)


def without_control(text: str, tokens: Collection[str] = ()) -> str:
    """The text with a space after the first character of each control token, as in `< |im_end|>`.

    The space is a plain one, because a tokenizer may drop a zero-width space before it looks for special tokens.
    ValueError for a token of a single character, which a space cannot break.
    """
    control = _control(tuple(tokens))
    while control.search(text):  # again, as a token may have overlapped another
        text = control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    return text


@functools.lru_cache(maxsize=64)
def _control(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for control tokens; blanks around the given tokens are ignored."""
    bare = sorted({token.strip() for token in tokens}, key=lambda token: (-len(token), token))
    for token in bare:
        if len(token) < 2:
            raise ValueError(f"a control token has two characters or more, not {token!r}")
    return re.compile("|".join([*map(re.escape, bare), *CONTROL]))


def _line(line: str, where: str) -> Line:
    try:
        pieces = list(string.Formatter().parse(line))
    except ValueError as error:
        raise ValueError(f"{where}: {error}; write a literal brace twice") from error
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
    """The lines without blank lines at the beginning and at the end."""
    filled = [at for at, line in enumerate(lines) if line.names or line.literals[0].strip()]
    return tuple(lines[filled[0] : filled[-1] + 1]) if filled else ()


def _each(text: str | Sequence[str], tokens: Collection[str]) -> str | list[str]:
    if isinstance(text, str):
        return without_control(text, tokens)
    return [without_control(one, tokens) for one in text]


def _unused_mark(texts: Texts) -> str:
    """Hex digits that no text contains; they depend on the texts only."""
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
