"""The content of a message: a text, or typed parts, which are texts, thoughts, calls, results and media.

A medium stays in the record. In the text it is a placeholder, such as <image>.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.values import Record, as_json, decoded, filled, is_number, shown, wrong_type

TEXTS = {"text", "input_text", "output_text"}
THOUGHTS = {"reasoning", "thinking", "think", "thought"}
CALLED = {"tool_call", "tool_use", "function_call"}
RESULTS = {"tool_result", "tool_response", "function_response", "function_call_output"}
MEDIA = {
    **dict.fromkeys(("image", "image_url", "input_image"), "image"),
    **dict.fromkeys(("audio", "audio_url", "input_audio"), "audio"),
    **dict.fromkeys(("video", "video_url", "input_video"), "video"),
}
LISTS = {"images": "image", "audios": "audio", "videos": "video"}
"""The fields of a record that list its media, which the texts may name by placeholders of their own."""
BESIDE = {**LISTS, **{kind: kind for kind in LISTS.values()}}
"""The fields of a record that have media: lists, or one medium."""
BARE = ("text", "value", "content")
KINDS = {*TEXTS, *THOUGHTS, *CALLED, *RESULTS, *MEDIA}

THOUGHTS_IN = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
"""The marks around the thoughts at the beginning of an answer."""
SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")
"""The marks around the answer, where the second pair is around the thoughts."""


@dataclass
class Content:
    """What a content holds."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    results: list[tuple[str, str | None]] = field(default_factory=list)
    """The text of each result, and the name of its tool."""
    media: list[str] = field(default_factory=list)
    """The kind of each medium."""
    parts: list[Any] | None = None
    """The parts as the record has them, where the rest does not say all that they say."""


def content_of(value: Any, where: str) -> Content:
    """Returns what a text or a list of parts holds. RecordFault for another value, and for an unknown part."""
    if isinstance(value, str):
        parts = _parts(value)
        if parts is None:
            return Content([value])
    elif isinstance(value, dict):
        parts = _parts_of(value)
    else:
        parts = [as_json(value)] if is_number(value) else value
    if not isinstance(parts, list):
        raise wrong_type(where, value, "a string")
    content = Content()
    for position, part in enumerate(parts):
        _add(content, part, f"{where}[{position}]")
    plain = len(content.texts) <= 1 and not content.media and len(content.thoughts) <= 1 and not content.results
    content.parts = None if plain else parts
    return content


def _parts_of(value: Record) -> Any:
    """Returns the parts that an object holds, or that it is; any other object unchanged."""
    if _kind(value) not in KINDS and isinstance(value.get("parts"), list):
        return value["parts"]
    return [value] if _kind(value) in KINDS or _named(value) else value


def _kind(part: Record) -> str:
    """Returns the type of a part, as text; empty for none."""
    kind = part.get("type")
    return kind if isinstance(kind, str) else as_json(kind) if kind else ""


def _named(part: Record) -> list[str]:
    """Returns the fields of a part without a type that say what it holds, as in {"image": …} and {"text": …}."""
    return [] if part.get("type") else [name for name in (*MEDIA, *BARE) if part.get(name) is not None]


def is_data(value: Any) -> bool:
    """Whether a value is a structure of its own, such as what a tool gives back, and no text or typed parts."""
    if isinstance(value, list):
        return not all(isinstance(each, str) or (isinstance(each, dict) and _kind(each) in KINDS) for each in value)
    return isinstance(value, dict) and _kind(value) not in KINDS


def _parts(text: str) -> list[Any] | None:
    """Returns the parts that a text holds as JSON; None for any other text."""
    if text[:1] != "[":
        return None
    parts = decoded(text, "[")
    typed = isinstance(parts, list) and parts and all(isinstance(each, dict) and _kind(each) in KINDS for each in parts)
    return parts if typed else None


def _add(content: Content, part: Any, where: str) -> None:
    if isinstance(part, str):
        content.texts.append(part)
        return
    if not isinstance(part, dict):
        raise wrong_type(where, part, "an object")
    kind = _kind(part)
    if named := _named(part):
        media = [MEDIA[name] for name in named if name in MEDIA]
        content.media += media
        content.texts += [f"<{each}>" for each in media]
        if named[-1] in BARE:
            content.texts.append(_text(part, BARE, where))
    elif kind in TEXTS:
        content.texts.append(_text(part, ("text", "value", "content"), where))
    elif kind in THOUGHTS:
        content.thoughts.append(_text(part, (kind, "text", "value", "content", *sorted(THOUGHTS)), where))
    elif kind in CALLED:
        called = next((part[name] for name in ("value", kind, "function_call") if part.get(name) is not None), part)
        content.calls.append(called)
    elif kind in RESULTS:
        name = part.get("name")
        content.results.append((_result(part, where), name if isinstance(name, str) else None))
    elif kind in MEDIA:
        content.media.append(MEDIA[kind])
        content.texts.append(f"<{MEDIA[kind]}>")
    else:
        known = ", ".join(sorted(KINDS))
        raise RecordFault(
            "wrong_type",
            f"{where} is of type {shown(kind) if kind else 'null'}; the types that can be read are {known}",
        )


def _text(part: Record, fields: tuple[str, ...], where: str) -> str:
    found = next((name for name in fields if part.get(name) is not None), fields[0])
    value = part.get(found)
    if not isinstance(value, str):
        raise wrong_type(f"{where}.{found}", value, "a string")
    return value


def _result(part: Record, where: str) -> str:
    value = next(
        (part[name] for name in ("content", "output", "text", "value", "result") if part.get(name) is not None), ""
    )
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(content_of(value, where).texts)
    return as_json(value)


NO_MEDIA: Counter[str] = Counter()


def media_in(record: Record, more: Sequence[tuple[int, Record]]) -> Counter[str]:
    """Returns the number of media by kind: the parts of messages, and the fields that stand beside the conversation.

    more: what messages have besides what they say, as `formats.Read` has it.
    """
    contents = [rest["content"] for _, rest in more if isinstance(rest.get("content"), list)]
    parts = [part for content in contents for part in content if isinstance(part, dict)]
    found = [MEDIA.get(name) for part in parts for name in _named(part) or [_kind(part)]]
    for name, kind in BESIDE.items():
        if filled(record, name) and isinstance(record[name], str | list | dict):
            found += [kind] * (len(record[name]) if isinstance(record[name], list) else 1)
    return Counter([kind for kind in found if kind]) if found else NO_MEDIA


def thinks(text: str) -> bool:
    """Whether a text has a mark of thoughts."""
    return "think>" in text or "_of_thought|>" in text


def apart(text: str) -> tuple[str, str]:
    """Returns the thoughts at the beginning of an answer, between the marks of THOUGHTS_IN, and the rest of it.

    The rest is empty where the thoughts do not end: there is no answer then. The first mark is absent where it stood in
    the prompt.
    """
    for begin, end in THOUGHTS_IN:
        begun = text.lstrip()
        if begin not in text and end in text:
            begun = begin + begun
        if begun.startswith(begin):
            thoughts, _, answer = begun[len(begin) :].partition(end)
            return thoughts.strip(), _solution(answer)
    return "", text


def _solution(answer: str) -> str:
    """The text between the marks of SOLUTION; an answer without them as it is, but for white space before it."""
    begin, end = SOLUTION
    inner = answer.strip()
    return inner.removeprefix(begin).removesuffix(end).strip() if inner.startswith(begin) else answer.lstrip()


def together(values: Sequence[str]) -> str:
    """Returns texts that differ and are not blank, on lines of their own."""
    return "\n".join(dict.fromkeys(each for value in values if (each := value.strip())))
