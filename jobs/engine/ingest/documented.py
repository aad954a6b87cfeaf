"""The tables of docs/formats.md, made from the code that reads files and records.

python -m jobs.engine.ingest.documented     prints them
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from jobs.engine.ingest.files.forms import COMPRESSED, MARKS
from jobs.engine.ingest.records.contents import LISTS, MEDIA, RESULTS, THOUGHTS_IN
from jobs.engine.ingest.records.format import SYSTEM_FIELDS, TOOL_FIELDS
from jobs.engine.ingest.records.formats import FORMATS, REJECTED, TEMPLATE_FIELD
from jobs.engine.ingest.records.messages import (
    CALL_FIELDS,
    CALL_ROLES,
    REASONING_FIELDS,
    ROLE_FIELDS,
    ROLES,
    TEXT_FIELDS,
)
from jobs.engine.ingest.records.preferences import LABELS
from jobs.engine.ingest.records.rendered import NAMES
from jobs.engine.ingest.records.trees import MESSAGE, PARENT, TREE

FILES = (
    ("JSON lines", "one object per line, also with a comma after each"),
    ("JSON", "an array of objects, objects one after another, or one or several arrays under keys such as `data`"),
    ("Parquet, Arrow, Feather", "one record per row; a folder of `save_to_disk` with its `train` split"),
    ("csv, tsv", "a header, then one record per row; by the file's name"),
    ("tar", "the records of its json members: one each, as in a WebDataset, or many"),
)


def lines() -> list[str]:
    """The lines of the tables: files, formats, and the words that are understood in messages."""
    return [*_files(), "", *_formats(), "", *_words()]


def _files() -> Iterator[str]:
    yield "| content | records |"
    yield "|---|---|"
    for content, records in FILES:
        yield f"| {content} | {records} |"
    packed = ", ".join(sorted(set(COMPRESSED.values())))
    marks = ", ".join(sorted({encoding.upper() for _, encoding in MARKS}))
    yield f"| any of the text forms, packed | {packed}, whatever the name |"
    yield f"| any of the text forms in another encoding | {marks}, by its mark; all others are read as UTF-8 |"


def _formats() -> Iterator[str]:
    yield "| format | fields | also read | values |"
    yield "|---|---|---|---|"
    shown = defaultdict(list)
    for each in FORMATS:
        also = [name for name in sorted(each.also) if name not in REASONING_FIELDS]
        shown[each.name, _names(also), each.example].append(" and ".join(f"`{name}`" for name in sorted(each.needs)))
    for (name, also, example), needs in shown.items():
        yield f"| {name} | {'; or '.join(needs)} | {also} | {example} |"
    rows = f"`prompt` with `replies`; or rows with {_names([TREE, MESSAGE, PARENT])}"
    yield f"| oasst | {rows} | {_names(['rank'])} | a tree; each path to a last answer is a sample |"


def _words() -> Iterator[str]:
    said = defaultdict(list)
    for word, role in ROLES.items():
        said[role].append(word)
    yield "| part of a message | fields and words |"
    yield "|---|---|"
    yield f"| role | {_names(ROLE_FIELDS)} |"
    yield f"| text | {_names(TEXT_FIELDS)} |"
    for role, words in said.items():
        part = (
            "what the assistant thinks, as a message before its answer" if role == "reasoning" else f"the role `{role}`"
        )
        yield f"| {part} | {_names(words)} |"
    yield f"| a call of the assistant | {_names([*CALL_FIELDS, *sorted(CALL_ROLES - set(CALL_FIELDS))])} |"
    yield f"| the result of a call, among parts | {_names(sorted(RESULTS))} |"
    marks = " or ".join(f"`{begin}` … `{end}`" for begin, end in THOUGHTS_IN).replace("|", "\\|")
    yield f"| what the assistant thinks | {marks} before the answer, {_names(REASONING_FIELDS)} |"
    yield f"| media, which stay in the record | {_names([*MEDIA, *LISTS])} |"
    given = f"and what `{TEMPLATE_FIELD}` has of them"
    yield f"| system prompt, tools on offer | {_names([*SYSTEM_FIELDS, *TOOL_FIELDS])}, {given} |"
    yield f"| chat templates in a text | {', '.join(NAMES)} |"
    yield f"| the rejected answer of a pair | {_names(REJECTED)} |"
    yield f"| whether the answer is desired (KTO) | {_names(LABELS)} |"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print("\n".join(lines()))  # noqa: T201 - its purpose
