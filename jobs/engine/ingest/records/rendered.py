"""A conversation in one text, as a chat template or a prompt template wrote it.

<|im_start|>user\\n…<|im_end|>          ChatML
<|start_header_id|>user<|end_header_id|>\\n\\n…<|eot_id|>      Llama 3
<s>[INST] … [/INST] … </s>            Llama 2
<start_of_turn>user\\n…<end_of_turn>    Gemma
<|user|>\\n…</s>                        Zephyr, Phi
### Human: … ### Assistant: …         Guanaco
### Instruction:\\n… ### Response:\\n…    Alpaca
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.messages import NO_MORE, ROLES, Spoken, spoken
from jobs.engine.ingest.records.values import Record


class Template(NamedTuple):
    """How a template marks who speaks."""

    mark: re.Pattern[str]
    """What stands before a message; its group is the word for the role."""
    end: re.Pattern[str]
    """What stands after a message."""


def _template(mark: str, end: str) -> Template:
    return Template(re.compile(mark), re.compile(rf"(?:{end})\s*\Z"))


TEMPLATES = (
    _template(r"<\|im_start\|>(\w+)[ \t]*\n?", r"<\|im_end\|>(?:\s*<\|endoftext\|>)?"),
    _template(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*", r"<\|(?:eot_id|end_of_text)\|>"),
    _template(r"<start_of_turn>(\w+)[ \t]*\n?", r"<end_of_turn>(?:\s*<eos>)?"),
    _template(r"<\|(system|user|assistant)\|>[ \t]*\n?", r"</s>|<\|end\|>|<\|endoftext\|>"),
    _template(r"(?:<s>\s*)?\[(/?INST)\]", r"</s>"),
    _template(r"(?:\A|\n*)### ?(Human|Assistant|System): ?", r"</s>"),
    _template(r"(?:\A|\n+)### ?(Instruction|Input|Response): *\n?", r"</s>|<\|endoftext\|>|<\|end_of_text\|>"),
)
WORDS = {
    **ROLES,
    "inst": "user",
    "/inst": "assistant",
    "instruction": "user",
    "input": "input",
    "response": "assistant",
}
BEFORE = re.compile(r"\s*(?:<s>|<bos>|<\|begin_of_text\|>)?\s*(?:Below is an instruction that describes[^#]*)?")
SYSTEM = re.compile(r"\s*<<SYS>>\s*(.*?)\s*<</SYS>>\s*", re.DOTALL)


def is_rendered(record: Record) -> bool:
    """Whether the field `text` begins as one of the templates writes it."""
    return isinstance(record["text"], str) and _template_of(record["text"]) is not None


def _template_of(text: str) -> Template | None:
    for template in TEMPLATES:
        first = template.mark.search(text)
        if first and BEFORE.fullmatch(text, 0, first.start()):
            return template
    return None


def rendered(record: Record) -> Iterator[Spoken]:
    """Gives the messages in the field `text`, which `is_rendered`. RecordFault for a speaker that is not known."""
    template = _template_of(record["text"])
    if template:
        _, *found = template.mark.split(record["text"])
        yield from _messages(found, template.end)


def _messages(found: list[str], end: re.Pattern[str]) -> Iterator[Spoken]:
    held: list[tuple[str, str]] = []
    for word, said in zip(found[::2], found[1::2], strict=True):
        role, text = WORDS.get(word.lower()), end.sub("", said).strip()
        if role is None:
            raise RecordFault("wrong_type", f"'text' marks a message of {word!r}, which is no role that is known")
        if role == "input":
            _, asked = held.pop() if held and held[-1][0] == "user" else ("", "")
            role, text = "user", "\n".join(filter(None, [asked, text]))
        if role == "user" and (system := SYSTEM.match(text)):
            held.append(("system", system.group(1)))
            text = text[system.end() :]
        held.append((role, text))
    for role, text in held:
        if role == "assistant":
            yield from spoken(role, text, "text")
        else:
            yield {"role": role, "content": text}, NO_MORE
