"""The layouts of trainers that take a list of messages: TRL, Axolotl, open-instruct and ms-swift."""

import shlex
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from jobs.engine.export.kept import KeptSample
from jobs.engine.export.parts import Parts, calls_of, parts_of, text_of, thought
from jobs.engine.ingest.records.openai import openai_message
from operators.sample import Message


def _messages(parts: Parts, arguments: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """The messages of a conversation as chat templates read them, with OpenAI's form of calls."""
    opening: list[Message] = [{"role": "system", "content": parts.system}] if parts.system else []
    return [_message(each, arguments) for each in [*opening, *parts.spoken]]


def _message(message: Message, arguments: Callable[[Any], Any]) -> dict[str, Any]:
    written = openai_message(message)
    if calls := calls_of(message):
        written["tool_calls"] = [
            {
                **({"id": call["id"]} if "id" in call else {}),
                "type": "function",
                "function": {"name": call["name"], "arguments": arguments(call["arguments"])},
            }
            for call in calls
        ]
    return written


def as_is(value: Any) -> Any:
    """The value unchanged."""
    return value


def as_text(value: Any) -> str:
    """A value as JSON text; a string is one already."""
    return value if isinstance(value, str) else text_of(value)


def trl(sample: KeptSample) -> dict[str, Any]:
    """A sample with the columns `messages` and, as JSON text, `tools`."""
    parts = parts_of(sample.messages)
    return {"messages": _messages(parts, as_is), **_tools_as_text(parts)}


def prompt_completion(sample: KeptSample) -> dict[str, Any]:
    """A sample of one answer with the columns `prompt` and `completion`, each a list of messages, and `tools`."""
    parts = parts_of(sample.messages)
    *prompt, completion = _messages(parts, as_is)
    return {"prompt": prompt, "completion": [completion], **_tools_as_text(parts)}


def _tools_as_text(parts: Parts) -> dict[str, str]:
    return {"tools": text_of(parts.tools)} if parts.tools else {}


def trl_yaml(path: str, file: str, name: str) -> tuple[str, str]:
    """The configuration of `trl sft --config` for `messages`."""
    return _trl(path, {"assistant_only_loss": True})


def trl_completion_yaml(path: str, file: str, name: str) -> tuple[str, str]:
    """The configuration of `trl sft --config` for `prompt` and `completion`."""
    return _trl(path, {"completion_only_loss": True})


def _trl(path: str, loss: dict[str, Any]) -> tuple[str, str]:
    data = {"datasets": [{"path": "json", "data_files": path, "split": "train"}]}
    return "trl.yaml", _yaml({**data, **loss})


def axolotl(sample: KeptSample) -> dict[str, Any]:
    """A sample with `messages` and `tools`. Arguments and parameters are JSON text, as their types differ by tool."""
    parts = parts_of(sample.messages)
    tools = list(_parameters_as_text(parts.tools))
    return {"messages": _messages(parts, as_text), **({"tools": tools} if tools else {})}


def _parameters_as_text(tools: Iterable[Any]) -> Iterable[Any]:
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and "parameters" in function:
            yield {**tool, "function": {**function, "parameters": as_text(function["parameters"])}}
        else:
            yield tool


def axolotl_yaml(path: str, file: str, name: str) -> tuple[str, str]:
    """The part of Axolotl's configuration that names the data."""
    data = {
        "path": path,
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "field_tools": "tools",
        "message_property_mappings": {"role": "role", "content": "content"},
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }
    return "axolotl.yaml", _yaml({"chat_template": "tokenizer_default", "datasets": [data]})


def open_instruct(sample: KeptSample) -> dict[str, Any]:
    """A sample as `messages` for OLMo's chat templates: tools are `functions`, calls are `function_calls`."""
    parts = parts_of(sample.messages)
    messages: list[dict[str, Any]] = []
    if parts.system or parts.tools:
        offered = {"functions": text_of([_function(each) for each in parts.tools])} if parts.tools else {}
        messages.append({"role": "system", "content": parts.system, **offered})
    for message in parts.spoken:
        calls = [{name: call[name] for name in ("name", "arguments")} for call in calls_of(message)]
        role = "environment" if message["role"] == "tool" else message["role"]
        made = {"role": role, "content": thought(message) + message["content"]}
        messages.append(made | ({"function_calls": text_of(calls)} if calls else {}))
    return {"messages": messages}


def _function(tool: Any) -> Any:
    return tool["function"] if isinstance(tool, dict) and "function" in tool else tool


def open_instruct_yaml(path: str, file: str, name: str) -> tuple[str, str]:
    """The part of the configuration of open_instruct/finetune.py that names the data."""
    data = {
        "dataset_mixer_list": [path, "1.0"],
        "dataset_mixer_list_splits": ["train"],
        "dataset_transform_fn": ["sft_tulu_tokenize_and_truncate_v1", "sft_tulu_filter_v1"],
    }
    return "open_instruct.yaml", _yaml(data)


def ms_swift(sample: KeptSample) -> dict[str, Any]:
    """A sample as `messages`, in which each call is a message of its own, and `tools` as JSON text."""
    parts = parts_of(sample.messages)
    messages = [{"role": "system", "content": parts.system}] if parts.system else []
    for message in parts.spoken:
        calls, said = calls_of(message), thought(message) + message["content"]
        if said or not calls:
            role = "tool_response" if message["role"] == "tool" else message["role"]
            messages.append({"role": role, "content": said})
        for call in calls:
            called = {name: call[name] for name in ("name", "arguments")}
            messages.append({"role": "tool_call", "content": text_of(called)})
    return {"messages": messages, **_tools_as_text(parts)}


def ms_swift_command(path: str, file: str, name: str) -> tuple[str, str]:
    """The command that trains a model, its first argument, on the data."""
    return "ms_swift.sh", f'swift sft --model "$1" --dataset {shlex.quote(path)}\n'


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
