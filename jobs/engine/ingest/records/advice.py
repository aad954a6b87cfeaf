"""What is said of a record that no format fits: the command that reads it, if one does."""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.messages import ROLES, conversation, is_message
from jobs.engine.ingest.records.rendered import NAMES
from jobs.engine.ingest.records.values import Record, decoded, field_names, literal
from jobs.engine.ingest.settings import BOOKKEEPING

ASKED = (
    *("instruction", "question", "prompt", "query", "problem", "user", "human", "input", "inputs", "source"),
    *("task", "request", "q", "instruct", "问题", "指令", "提问", "输入"),
)
ANSWERED = (
    *("response", "output", "answer", "completion", "attempt", "deepseek_attempt"),
    *(
        "model_answer",
        "deepseek_solution",
        "generated_solution",
        "solution",
        "assistant",
        "gpt",
        "bot",
        "target",
        "targets",
    ),
    *("reply", "generation", "summary", "chosen", "text", "content", "a", "回答", "答案", "回复", "输出"),
)
REASONED = (
    *("reasoning", "reasoning_content", "thinking", "thinking_trajectories", "deepseek_thinking_trajectory"),
    *(
        "model_reasoning",
        "deepseek_reasoning",
        "complex_cot",
        "chain_of_thought",
        "cot",
        "rationale",
        "thought",
        "thoughts",
    ),
    *("思考", "推理"),
)
"""Names, in lower case, that fields of an instruction, of its response and of the thoughts before it have, the
likeliest first."""
TALKS = {"data", "chat", "talk", "turns", "utterances", "dialogs", "dialogues", "对话"}
"""Names of fields whose texts are a conversation, the user's first."""
NUMBERED = re.compile(r"(?:response|answer|completion|output|reply)_?(?:\d|[abjk])")
"""Names of the fields of several answers."""
ALONE = {"text", "content", "body", "document"}


def no_format(record: Record) -> RecordFault:
    """Returns the fault of a record that has the fields of no format."""
    found = f"no format fits the fields found ({field_names(record)})"
    if is_message(record):
        return RecordFault("missing_field", "the record is a single message; a sample is a list of them, as `messages`")
    if is_columns(record) or _is_rows(record):
        return RecordFault("wrong_type", TABLE)
    talks = _conversations(record)
    if not talks and _has_no_text(record) and any(map(_is_list_of_records, record.values())):
        return RecordFault("wrong_type", f"{found}; {APART}")
    if len(talks) > 1:
        names = ", ".join(talks)
        return RecordFault(
            "missing_field", f"{found}; name one of the conversations ({names}): --columns messages=FIELD"
        )
    if columns := f"messages={talks[0]}" if talks else _turn(record):
        return RecordFault("missing_field", f"{found}; to read them: --columns {shlex.quote(columns)}")
    if answers := _several_answers(record):
        return RecordFault(
            "missing_field",
            f"{found}; {', '.join(answers)} hold several answers: write the one to train on as `response`, "
            "or the better and the worse one as `chosen` and `rejected`",
        )
    if len(texts := [name for name in record if isinstance(record[name], str)]) == 1 and texts[0].lower() in ALONE:
        return RecordFault(
            "missing_field",
            f"{found}: a text alone, as for pretraining, has no instruction and response; if a chat template wrote it, "
            f"those that are read are {', '.join(NAMES)}",
        )
    return RecordFault(
        "missing_field",
        f"{found}; name those of yours, as --columns instruction=FIELD,response=FIELD or --columns messages=FIELD; "
        "docs/formats.md has the formats",
    )


APART = (
    "where they hold lists of records, write each list to a file of its own, "
    "or rename a field to data or train, and all are read as arrays of records"
)
TABLE = (
    "the object holds a table and not a record; write its rows one by one, "
    "with pandas df.to_json(path, orient='records', lines=True, force_ascii=False)"
)


def is_columns(record: Record) -> bool:
    """Whether an object holds the columns of a table: equally long lists of texts, or objects by numbers, as pandas."""
    values = list(record.values())
    if len(values) < 2:
        return False
    if all(isinstance(each, list) and len(each) > 1 for each in values):
        return len({len(each) for each in values}) == 1 and any(isinstance(each[0], str) for each in values)
    return all(isinstance(each, dict) and each and all(map(str.isdecimal, each)) for each in values)


def _is_rows(record: Record) -> bool:
    """Whether an object holds the rows of a table: records of equal fields by their names, or lists in `data`."""
    if {"columns", "data"} <= record.keys() and isinstance(record["data"], list):
        return True
    values = list(record.values())
    rows = len(values) > 1 and all(isinstance(each, dict) and each for each in values)
    alike = rows and len({frozenset(each) for each in values}) == 1
    return alike and bool(_turn(values[0]) or _conversations(values[0]))


def _several_answers(record: Record) -> list[str]:
    """Returns the fields that hold several answers to one question: lists of objects, or fields with a number each."""
    if not _first(ASKED, {name.lower(): name for name in record}):
        return []
    lists = [name for name, value in record.items() if _is_list_of_answers(value)]
    numbered = [name for name, value in record.items() if isinstance(value, str) and NUMBERED.fullmatch(name.lower())]
    return lists or (numbered if len(numbered) > 1 else [])


def _is_list_of_answers(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(each, dict) and not is_message(each) and bool(_first(ANSWERED, each)) for each in value)
    )


def _is_list_of_records(value: Any) -> bool:
    """Whether a value is a list of objects, each with an instruction and its response."""
    return isinstance(value, list) and len(value) > 0 and all(isinstance(each, dict) and _turn(each) for each in value)


def _conversations(record: Record) -> list[str]:
    """Returns the columns of messages: lists of objects that name their speakers, in a field or one level deeper."""
    alone = _has_no_text(record)
    return [path for path, value in _paths(record) if "=" not in path and _is_conversation(path, value, alone)]


def _names_speakers(item: Any) -> bool:
    """Whether a value is an object with the texts of both speakers, by their names: {"user": …, "assistant": …}."""
    if not isinstance(item, dict):
        return False
    return {ROLES.get(name.lower()) for name in item if name not in ("question", "answer")} >= {"user", "assistant"}


def _has_no_text(record: Record) -> bool:
    return not any(isinstance(value, str) and name.lower() not in BOOKKEEPING for name, value in record.items())


def _is_conversation(path: str, value: Any, alone: bool) -> bool:
    """Whether a field holds a conversation. alone: whether the record has no text, which would be a part of it."""
    listed = literal(decoded(value, "["))
    if not (isinstance(listed, list) and listed):
        return False
    if all(isinstance(each, str) for each in listed):
        return alone and len(listed) > 1 and path.rsplit(".", 1)[-1].lower() in TALKS
    if not all(is_message(each) or (alone and _names_speakers(each)) for each in listed):
        return False
    try:
        return any(item["role"] == "assistant" for item, _ in conversation(listed, path))
    except RecordFault:
        return False


def _paths(record: Record) -> Iterator[tuple[str, Any]]:
    yield from record.items()
    for name, value in record.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())


def _turn(record: Record) -> str:
    """Returns the columns of an instruction and its response, by the names of fields that hold texts."""
    texts = {name.lower(): name for name, value in record.items() if isinstance(value, str) and value}
    asked, answered = _first(ASKED, texts), _first(ANSWERED, texts)
    if not (asked and answered):
        return ""
    thoughts = {name.lower(): name for name, value in record.items() if _is_thought(value)}
    reasoned = _first(REASONED, thoughts)
    more = f",reasoning={thoughts[reasoned]}" if reasoned else ""
    return f"instruction={texts[asked]},response={texts[answered]}{more}"


def _is_thought(value: Any) -> bool:
    """Whether a value is a text, or a list of one, as --columns reasoning=FIELD reads it."""
    return isinstance(value[0] if isinstance(value, list) and len(value) == 1 else value, str) and bool(value)


def _first(names: Sequence[str], among: Record) -> str | None:
    return next((name for name in names if name in among), None)
