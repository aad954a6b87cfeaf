"""Rewriting: a language model makes a more demanding instruction from that of a sample.

    Rewrite(prompt=Prompt("lift_rewrite_code"), model=Checkpoint("Qwen/Qwen3-8B"))

A reply that is not an instruction has an outcome instead, which LIFT's expansion counts: it is empty, cut off,
unchanged, or speaks of the prompt. Such a reply never becomes a sample.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import pyarrow as pa
from pydantic.dataclasses import dataclass

from operators import sample
from operators.asking.asking import Asking, Count, Temperature
from operators.asking.language_model import Answer, Question
from operators.asking.prompt import Prompt, opened
from operators.asking.respond import encodable, generated
from operators.base import STRICT, RowError
from operators.sample import Message

TEXTS = ("instruction", "input")
PUBLISHED_MARK = "input:"

# A lead-in that models write before the new instruction, although the prompt forbids it.
LEAD_IN = re.compile(
    r"\A[\s#*_>\"'`]*"
    r"(?:(?:sure|certainly|of course|okay|ok)\b[^\n:]{0,40}[,.!]\s*)?(?:here(?:'s|’s| is| are)\b[^\n:]{0,60}?)?"
    r"(?:(?:the|a|your|my)\s+)?"
    r"(?:(?:revised|rewritten|refined|improved|evolved|new)\s+(?:\w+\s+)?(?:prompt|task|instruction|problem|version)"
    r"|(?:改写后的?|修改后的?|优化后的?|改進後的?|新的?)(?:提示词?|任务|任務|指令|问题|問題|版本)"
    r")[\s*_#]*[:：][\s*_#]*",
    re.IGNORECASE,
)
INPUT_LINE = re.compile(r"^[ \t#*_]*input[ \t*_]*[:：][ \t*_]*$", re.IGNORECASE | re.MULTILINE)
BLOCK_LINE = re.compile(r"===[^\n=]*[0-9a-f]{12} ===")
MARKERS = ("given prompt", "original prompt", "revised prompt", "rewritten prompt", "rewritten task", "revised task")


@dataclass(frozen=True, config=STRICT)
class Rewrite(Asking):
    """A new instruction: a struct of instruction, input, outcome and cut (whether the old instruction was cut)."""

    reads: ClassVar[tuple[str, ...]] = ("messages", "raw")
    gives: ClassVar[pa.DataType] = pa.struct(
        [("instruction", pa.string()), ("input", pa.string()), ("outcome", pa.string()), ("cut", pa.bool_())]
    )

    prompt: Prompt = Prompt("lift_rewrite_general")
    """The rules: a name in operators/prompts or the path of a text file."""
    form: Literal["repaired", "published"] = "repaired"
    """How the reply is read, by the function of this name."""
    temperature: Temperature = 0.5
    max_tokens: Count = 1024

    def check(self) -> None:
        """ModelMissing where no model would answer; ValueError where the prompt is missing or lacks a placeholder."""
        self.prompt.template().check(TEXTS)
        super().check()

    def question(self, row: Mapping[str, Any]) -> Question | RowError:
        """The rules, then instruction and input of the sample; where they are too long, the input is cut first."""
        asked = asked_of(row["messages"], row["raw"])
        if not asked.instruction.strip() and not asked.input.strip():
            return RowError("empty_text", "the sample has no instruction to rewrite")
        template = opened(self.prompt)

        def render(texts: Mapping[str, str], tokens: Sequence[str]) -> list[Message]:
            return template.messages(texts, {}, tokens)

        return Question({"input": asked.input, "instruction": asked.instruction}, render)

    def unanswered(self, answer: Answer) -> bool:
        """Whether the instruction was cut, and is therefore lost."""
        return not answer.finished

    def value(self, row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
        """The struct of an answer: the new instruction, or the outcome with the reason why there is none."""
        asked = asked_of(row["messages"], row["raw"])
        made = published(answer) if self.form == "published" else repaired(asked, answer)
        return {**made._asdict(), "cut": answer.cut}


class OldInstruction(NamedTuple):
    """Instruction and input of a sample."""

    instruction: str
    input: str

    def whole(self) -> str:
        """Both together, as in the message of a sample."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction


class Rewritten(NamedTuple):
    """Instruction and input of a new sample; both empty where the outcome is the reason why there is none."""

    instruction: str
    input: str
    outcome: str = ""


def opening(messages: Sequence[Message]) -> list[Message]:
    """The messages of the roles tools and system at the beginning of a conversation."""
    first = next((at for at, each in enumerate(messages) if each["role"] not in ("tools", "system")), len(messages))
    return list(messages[:first])


def asked_of(messages: Sequence[Message], raw: bytes) -> OldInstruction:
    """Instruction and input of a sample, without its opening; for several turns as in `sample.triplet`."""
    found = sample.triplet(messages[len(opening(messages)) :], raw)
    return OldInstruction(found.instruction, found.input)


def repaired(asked: OldInstruction, answer: Answer) -> Rewritten:
    """The reply as an instruction, without a lead-in such as "Revised prompt:".

    Where the old sample has an input and the reply has one line "Input:", the text after that line is the input. Else
    the whole reply is the instruction. The outcomes are those of `generated`, `unchanged` (apart from blanks and case)
    and `leaked` (the reply contains the border of a block, or words such as "rewritten prompt" that the old sample does
    not contain).
    """
    text, outcome = generated(answer)
    text = LEAD_IN.sub("", text, count=1).strip()
    outcome = outcome or _fault(asked.whole(), text)
    if outcome:
        return Rewritten("", "", outcome)
    labels = list(INPUT_LINE.finditer(text))
    if asked.input and len(labels) == 1 and text[: labels[0].start()].strip():
        return Rewritten(text[: labels[0].start()].strip(), text[labels[0].end() :].strip())
    return Rewritten(text, "")


def published(answer: Answer) -> Rewritten:
    """The reading of the released expand_instruction_*_task.py: the reply split at "input:", both sides stripped.

    With two "input:" the released code raises and the row is lost: the outcome is `crashes`. A reply that is empty or
    cut off is not an instruction here either.
    """
    if not answer.finished or encodable(answer.text) != answer.text:
        return Rewritten("", "", "unfinished" if not answer.finished else "garbled")
    pieces = [piece.strip() for piece in answer.text.split(PUBLISHED_MARK)]
    if len(pieces) > 2:
        return Rewritten("", "", "crashes")
    if not pieces[0]:
        return Rewritten("", "", "empty")
    return Rewritten(pieces[0], pieces[1] if len(pieces) == 2 else "")


def _fault(old: str, new: str) -> str:
    if not new:
        return "empty"
    if _alike(old) == _alike(new):
        return "unchanged"
    if BLOCK_LINE.search(new) or any(words in new.lower() and words not in old.lower() for words in MARKERS):
        return "leaked"
    return ""


def _alike(text: str) -> str:
    return "".join(text.split()).casefold()
