"""A conversation in one text, as a chat template or a prompt template wrote it. `NAMES` lists the templates.

<|im_start|>user\\n…<|im_end|>          ChatML; with <|im_sep|> in place of the line end, Phi 4
<|start_header_id|>user<|end_header_id|>\\n\\n…<|eot_id|>      Llama 3
<s>[INST] … [/INST] … </s>            Llama 2, Mistral
<start_of_turn>user\\n…<end_of_turn>    Gemma
<|user|>\\n…</s>                        Zephyr, Phi 3
<｜User｜>…<｜Assistant｜>…             DeepSeek
### Human: … ### Assistant: …         Guanaco
### Instruction:\\n… ### Response:\\n…    Alpaca
USER: … ASSISTANT: …</s>              Vicuna; with FUNCTION RESPONSE: …, Glaive
Human: … \\n Assistant: …              on lines of their own; also User and, of Phi 2, Instruct and Output
"""

import itertools
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
    words: bool = False
    """Whether the marks are words that a message may have too. The speakers take turns then, or it is no such text."""


def _template(mark: str, end: str, *, words: bool = False) -> Template:
    return Template(re.compile(mark), re.compile(rf"(?:{end})\s*\Z"), words)


# No pattern begins or goes on with a run of white space that it may give back: a text with thousands of line ends would
# take hours. The white space around messages is stripped instead.
TEMPLATES = (
    _template(r"<\|im_start\|>(\w+)(?:<\|im_sep\|>|[ \t]*\n?)", r"<\|im_end\|>(?:\s*<\|endoftext\|>)?|<\|endoftext\|>"),
    _template(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*", r"<\|(?:eot_id|end_of_text)\|>"),
    _template(r"<start_of_turn>(\w+)[ \t]*\n?", r"<end_of_turn>(?:\s*<eos>)?"),
    _template(r"<\|(system|user|assistant)\|>[ \t]*\n?", r"</s>|<\|end\|>(?:\s*<\|endoftext\|>)?|<\|endoftext\|>"),
    _template(r"(?:<s>\s*)?\[(/?INST)\]", r"</s>"),
    _template(r"<｜(User|Assistant)｜>", r"<｜end▁of▁sentence｜>"),
    _template(r"### ?(Human|Assistant|System): ?", r"</s>"),
    _template(r"(?:\A|(?<=\n))### ?(Instruction|Input|Response): *\n?", r"</s>|<\|endoftext\|>|<\|end_of_text\|>"),
    _template(
        r"(?:\A|(?<=\s)|(?<=</s>))(USER|ASSISTANT|FUNCTION RESPONSE):(?:\s+|\Z)", r"</s>|<\|endoftext\|>", words=True
    ),
    # The words that begin a text are its marks; with blank lines between the messages, lines inside one are none.
    *(
        _template(rf"(?:\A\s*|{between})({user}|Assistant|System): ?", r"</s>|<\|endoftext\|>", words=True)
        for between in (r"(?<=\n\n)", r"(?<=\n)")
        for user in ("Human", "User")
    ),
    _template(r"(?:\A\s*|(?<=\n))(Instruct|Output): ?", r"<\|endoftext\|>", words=True),
)
NAMES = (
    *("ChatML", "Llama 2 and 3", "Gemma", "Zephyr and Phi", "DeepSeek", "`### Human:`", "Alpaca's `### Instruction:`"),
    *("Vicuna's `USER:`", "`Human:` or `User:` at the beginning of a line"),
)
"""The templates, for messages and the documentation."""
WORDS = {
    **ROLES,
    "inst": "user",
    "/inst": "assistant",
    "instruction": "user",
    "input": "input",
    "response": "assistant",
    "instruct": "user",
    "output": "assistant",
    "function response": "tool",
}
AFTER = {"user": ("assistant",), "assistant": ("user", "tool"), "tool": ("assistant", "tool")}
"""Who may speak after whom."""
BEFORE = re.compile(
    r"\s*+(?:<s>|<bos>|<\|begin_of_text\|>|<｜begin▁of▁sentence｜>)?\s*+"
    r"(?:Below is an instruction that describes[^#]*+|(?P<system>A chat between a curious [^\n]*+)\s*+)?"
)
ENDS = (
    *("Assistant:", "ASSISTANT:", "Response:", "Output:", "[/INST]", "assistant", "model"),
    *("<|assistant|>", "<｜Assistant｜>", "<|end_header_id|>", "<|im_sep|>"),
)
"""How a prompt ends that a template wrote up to the answer."""
SYSTEM = re.compile(r"\s*+<<SYS>>(.*?)<</SYS>>\s*+", re.DOTALL)


class _Found(NamedTuple):
    template: Template
    system: str
    """The system prompt that stands before the first mark."""
    messages: list[tuple[str, str]]
    """The word for the role and the text of each message."""


def is_rendered(record: Record, field: str) -> bool:
    """Whether a field holds a text that begins as one of the templates writes it."""
    return isinstance(record[field], str) and _found(record[field]) is not None


def _found(text: str) -> _Found | None:
    for template in TEMPLATES:
        first = template.mark.search(text)
        before = BEFORE.fullmatch(text, 0, first.start()) if first else None
        if before:
            _, *split = template.mark.split(text)
            found = _Found(
                template,
                (before["system"] or "").rstrip(),
                list(zip(split[::2], map(str.strip, split[1::2]), strict=True)),
            )
            if not template.words or _is_certain(found):
                return found
    return None


def _is_certain(found: _Found) -> bool:
    """Whether the marks of a text are no words of its messages: the speakers take turns, and all answers end alike."""
    said = [(WORDS[word.lower()], text) for word, text in found.messages]
    ended = {found.template.end.search(text) is not None for role, text in said if role == "assistant" and text}
    return len(ended) < 2 and _takes_turns([role for role, _ in said])


def _takes_turns(roles: list[str]) -> bool:
    """Whether user and assistant speak in turns, the user first, after what the system says."""
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    return spoken[:2] == ["user", "assistant"] and all(
        role in AFTER.get(before, ()) for before, role in itertools.pairwise(spoken)
    )


def rendered(record: Record, field: str) -> Iterator[Spoken]:
    """Gives the messages in a field, which `is_rendered`. RecordFault for a speaker that is not known."""
    if found := _found(record[field]):
        yield from _messages(found)


def opened(prompt: str) -> tuple[list[Spoken], re.Pattern[str]] | None:
    """Returns the messages of a prompt that a template wrote up to the answer, and what stands after that answer.

    None for any other text. RecordFault for a speaker that is not known.
    """
    if not prompt.rstrip().endswith(ENDS):
        return None
    found = _found(prompt)
    if found is None or found.messages[-1][1] or WORDS.get(found.messages[-1][0].lower()) != "assistant":
        return None
    return list(_messages(found._replace(messages=found.messages[:-1]))), found.template.end


def _messages(found: _Found) -> Iterator[Spoken]:
    held: list[tuple[str, str]] = [("system", found.system)] if found.system else []
    for word, said in found.messages:
        role, text = WORDS.get(word.lower()), found.template.end.sub("", said).strip()
        if role is None:
            raise RecordFault("wrong_type", f"the text marks a message of {word!r}, which is no role that is known")
        if role == "input":
            _, asked = held.pop() if held and held[-1][0] == "user" else ("", "")
            role, text = "user", "\n".join(filter(None, [asked, text]))
        if role == "user" and (system := SYSTEM.match(text)):
            held.append(("system", system.group(1).strip()))
            text = text[system.end() :]
        held.append((role, text))
    for role, text in held:
        if role == "assistant":
            yield from spoken(role, text, "text")
        else:
            yield {"role": role, "content": text}, NO_MORE
