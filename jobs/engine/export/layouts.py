"""The layout of each trainer: a sample as its record, and the configuration that names the data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.engine.export import chat, llama_factory
from jobs.engine.export.kept import Kept, KeptSample
from jobs.engine.export.parts import Unfit, calls_of, parts_of


@dataclass(frozen=True)
class Shape:
    """What the kept samples have, which decides between the layouts of one trainer."""

    one_answer: bool
    """Whether every conversation is an instruction with one response, with at most a system prompt before it."""
    plain: bool
    """Whether none has tools, calls or reasoning."""


@dataclass(frozen=True)
class Layout:
    """How a trainer wants its data."""

    record: Callable[[KeptSample], Mapping[str, Any]]
    """A sample as a record of the data file. Unfit where the trainer cannot hold it."""
    configuration: Callable[[str, str, str], tuple[str, str]]
    """Called with the path of the data file, its name in the folder, and a name for the data. The name and the text of
    the configuration file."""


def shape_of(kept: Kept) -> Shape:
    """The shape of the samples that a trainer can hold."""
    one_answer = plain = True
    for sample in kept.samples():
        try:
            tools, _, spoken = parts_of(sample.messages)
            more = tools or any(each.get("reasoning") or calls_of(each) for each in spoken)
        except Unfit:
            continue
        one_answer = one_answer and [each["role"] for each in spoken] == ["user", "assistant"]
        plain = plain and not more
        if not (one_answer or plain):
            break
    return Shape(one_answer, plain)


def layout_of(trainer: str, shape: Shape) -> Layout:
    """The layout of a trainer for samples of this shape."""
    if trainer == "llamafactory":
        if shape.one_answer and shape.plain:
            return Layout(llama_factory.alpaca, llama_factory.alpaca_entry)
        return Layout(llama_factory.sharegpt, llama_factory.sharegpt_entry)
    if trainer == "trl":
        if shape.one_answer:
            return Layout(chat.prompt_completion, chat.trl_completion_yaml)
        return Layout(chat.trl, chat.trl_yaml)
    return {
        "axolotl": Layout(chat.axolotl, chat.axolotl_yaml),
        "open-instruct": Layout(chat.open_instruct, chat.open_instruct_yaml),
        "ms-swift": Layout(chat.ms_swift, chat.ms_swift_command),
    }[trainer]
