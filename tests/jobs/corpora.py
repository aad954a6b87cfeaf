"""Small corpora for the tests of whole commands, and their ledgers."""

import json
import random
import re
from pathlib import Path

import pyarrow.parquet as pq

SUBJECTS = ["bread", "goats", "tides", "chess", "rivers", "verbs", "maps", "lenses", "北京", "山水"]
ASKED = ["Explain {}.", "Write a poem about {}.", "List five facts about {}.", "{}について書け。", "Why do {} matter?"]


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


CITIES = ["Oslo", "Lima", "New York", "Quito", "Riga", "Kyoto", "São Paulo", "Graz"]
DAYS = ["monday", "friday", "tomorrow", "tonight", "next week"]
SONGS = ["Halo", "Blue Moon", "Yesterday", "La Mer"]
PLACES = ["北京", "上海", "广州", "成都"]
OPENINGS = ["", "please ", "hey ", "could you ", "so ", "I need you to ", "quick: "]
UTTERANCES = {
    "flight": [
        "book a flight to {city} {day} at {time}",
        "fly me from {city} to {city}",
        "订一张{time}去{place}的机票",
    ],
    "weather": ["tell me if it rains in {city} {day}", "check how warm {city} is at {time}", "看看{place}{time}的天气"],
    "music": ["play {song} at {time}", "put on {song} {day}", "{time}播放{song}"],
    "alarm": ["wake me {day} at {time}", "set an alarm for {time}", "{time}叫我起床"],
}
FILLERS = {
    "city": CITIES,
    "day": DAYS,
    "song": SONGS,
    "place": PLACES,
    "time": [f"{hour}:{minute}" for hour in range(1, 13) for minute in ("05", "15", "30", "45")],
}


def utterances(count: int, seed: int) -> list[dict]:
    """So many utterances with an intent and a slot a word, in a language with blanks and in one without."""
    drawn = random.Random(seed)
    made = []
    for at in range(count):
        intent = drawn.choice(list(UTTERANCES))
        words, slots, text = [], [], ""
        for piece in re.split(r"({\w+})", drawn.choice(OPENINGS) + drawn.choice(UTTERANCES[intent])):
            kind = piece.strip("{}") if piece.startswith("{") else ""
            written = drawn.choice(FILLERS[kind]) if kind else piece
            text += written
            for position, word in enumerate(written.split()):
                words.append(word)
                slots.append(f"{'I' if position else 'B'}-{kind}" if kind else "O")
        made.append({"instruction": text, "output": "", "intent": intent, "words": words, "slots": slots, "number": at})
    return made


def jsonl(path: Path, rows: list[dict]) -> str:
    """Writes records a line each, in a spelling that a re-serialisation would not keep."""
    lines = [json.dumps(row, ensure_ascii=i % 2 == 0, separators=(",", ": ")) for i, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def ledger(folder: Path) -> list[dict]:
    return pq.read_table(folder / "selection.parquet").to_pylist()
