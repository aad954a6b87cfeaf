"""LLaMA-Factory's layouts: alpaca for one turn of plain text, else sharegpt with tools, calls and reasoning."""

import json
from typing import Any

from jobs.engine.export.kept import KeptSample
from jobs.engine.export.parts import Unfit, calls_of, parts_of, text_of, thought
from operators.sample import Message, input_of

TAG = {"user": "human", "tool": "observation", "assistant": "gpt"}

TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
}


def alpaca(sample: KeptSample) -> dict[str, Any]:
    """A sample of one turn as an Alpaca record. Unfit where it has no answer."""
    _, system, (asked, answer) = parts_of(sample.messages)
    more = input_of(asked["content"], sample.record)
    instruction = asked["content"].removesuffix(f"\n{more}") if more else asked["content"]
    return {"instruction": instruction, "input": more, "output": answer["content"], "system": system}


def alpaca_entry(path: str, file: str, name: str) -> tuple[str, str]:
    """dataset_info.json for `alpaca`."""
    columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
    return _entry(name, {"file_name": file, "formatting": "alpaca", "columns": columns})


def sharegpt(sample: KeptSample) -> dict[str, Any]:
    """A sample as a ShareGPT record, in which those who ask and the assistant take turns.

    Messages of one side in a row are joined by a blank line, and results of tools by a newline. Unfit where there is no
    answer, or where the assistant or a system prompt comes in between.
    """
    tools, system, spoken = parts_of(sample.messages)
    turns: list[dict[str, str]] = []
    for message in spoken:
        tag, value = _tagged(message)
        answers = message["role"] == "assistant"
        if answers != bool(len(turns) % 2):  # not this side's turn
            if not turns:
                raise Unfit("the assistant speaks first")
            if turns[-1]["from"] != tag or tag == "function_call":
                raise Unfit(f"{tag} follows {turns[-1]['from']}, which LLaMA-Factory skips")
            turns[-1]["value"] += ("\n" if tag == "observation" else "\n\n") + value
        else:
            turns.append({"from": tag, "value": value})
    return {"conversations": turns, "system": system, "tools": text_of(tools) if tools else ""}


def _tagged(message: Message) -> tuple[str, str]:
    """The tag and the value of a message. The words around calls beside a text are those of newer releases."""
    if message["role"] not in TAG:
        raise Unfit(f"it has a message of the {message['role']} in the middle")
    calls = [{name: call[name] for name in ("name", "arguments")} for call in calls_of(message)]
    if not calls:
        return TAG[message["role"]], thought(message) + message["content"]
    listed = text_of(calls)
    if message["content"]:
        listed = f"{message['content']}\n<tool_call>{listed}</tool_call>"
    return "function_call", thought(message) + listed


def sharegpt_entry(path: str, file: str, name: str) -> tuple[str, str]:
    """dataset_info.json for `sharegpt`."""
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    return _entry(name, {"file_name": file, "formatting": "sharegpt", "columns": columns, "tags": TAGS})


def _entry(name: str, entry: dict[str, Any]) -> tuple[str, str]:
    return "dataset_info.json", json.dumps({name: entry}, indent=2) + "\n"
