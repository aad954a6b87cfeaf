"""Small corpora for the tests of whole commands, and their ledgers."""

import json
from pathlib import Path

import pyarrow.parquet as pq

SUBJECTS = ["bread", "goats", "tides", "chess", "rivers", "verbs", "maps", "lenses", "北京", "音乐"]
ASKED = ["Explain {}.", "Write a poem about {}.", "List five facts about {}.", "用一句话介绍{}。", "Why do {} matter?"]


def records(count: int, salt: str = "") -> list[dict]:
    """So many different Alpaca records."""
    made = []
    for i in range(count):
        subject, asked = SUBJECTS[i % 10], ASKED[i // 10 % 5]
        made.append(
            {
                "instruction": asked.format(subject),
                "input": "",
                "output": f"{subject} {i}{salt} " * (1 + i % 7),
                "category": subject,
                "number": i,
            }
        )
    return made


def jsonl(path: Path, rows: list[dict]) -> str:
    """Writes records a line each, in a spelling that a re-serialisation would not keep."""
    lines = [json.dumps(row, ensure_ascii=i % 2 == 0, separators=(",", ": ")) for i, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def ledger(folder: Path) -> list[dict]:
    return pq.read_table(folder / "selection.parquet").to_pylist()
