"""The demo corpus: a small instruction-tuning corpus with known faults, written from a seed.

    corpus(samples=3200, seed=7) -> [{"instruction", "input", "output", "topic", "kind", "group"}, ...]

`kind` says what a sample is, so that a selection can be judged by the kinds it holds:

    ordinary        a task on a common topic; a few topics make up most of the corpus
    rare            a task on a niche topic, which has three to six samples
    near_duplicate  an ordinary sample retyped with small edits; it has the `group` of its original
    junk            a refusal, an empty answer, random keys, HTML remains, ...; its topic is "none"

The words are in topics.yaml and the grammar is here. The tasks of a language are applied to the facts, procedures
and lists of a topic. The answers of calculations are computed.
"""

import random
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import yaml

NEAR_DUPLICATES = 0.15
JUNK = 0.06

Record = dict[str, str]


def corpus(samples: int = 3200, seed: int = 7) -> list[Record]:
    """Exactly `samples` different records in random order; the same seed gives the same records."""
    words, rng = yaml.safe_load((files("jobs.demo") / "topics.yaml").read_text("utf-8")), random.Random(seed)
    rare = [
        {"instruction": question, "input": "", "output": answer, "topic": topic, "kind": "rare"}
        for topic, rows in words["rare"].items()
        for question, answer in table(rows)
    ]
    copies, junk = round(samples * NEAR_DUPLICATES), round(samples * JUNK)
    ordinary = ordinary_samples(words, samples - len(rare) - copies - junk, rng)
    written: dict[tuple[str, str, str], Record] = {}

    def add(record: Record, group: int) -> None:
        text = record["instruction"], record["input"], record["output"]
        written.setdefault(text, {**record, "group": f"g{group:04d}"})

    for group, record in enumerate(ordinary + rare):
        add(record, group)
    while len(written) < samples - junk:
        group = min(rng.randrange(len(ordinary)), rng.randrange(len(ordinary)))  # some have more copies than others
        add(near_duplicate(ordinary[group], words, rng), group)
    while len(written) < samples:
        add(junk_record(ordinary, words["junk"], rng), len(written))
    return rng.sample(list(written.values()), samples)


def ordinary_samples(words: dict, count: int, rng: random.Random) -> list[Record]:
    """Samples of every topic, in proportion to its share; where a topic has too few, other topics fill the gap."""
    topics = words["topics"]
    stock = {}
    for name, topic in topics.items():
        fields = [other for other in topics if "language" not in topics[other] and other != name]
        drafts = {tuple(draft.values()): draft for draft in drafts_of(name, topic, words["tasks"], fields, rng)}
        stock[name] = rng.sample(list(drafts.values()), len(drafts))
    most = sum(map(len, stock.values()))
    if not 2 <= count <= most:
        raise ValueError(f"the demo corpus has between 2 and {most} ordinary samples; this size asks for {count}")
    total = sum(topic["share"] for topic in topics.values())
    chosen, spare = [], []
    for name, drafts in stock.items():
        quota = count * topics[name]["share"] // total
        chosen += drafts[:quota]
        spare += drafts[quota:]
    chosen += rng.sample(spare, count - len(chosen))
    return rng.sample(chosen, count)


def drafts_of(name: str, topic: dict, tasks: dict, fields: list[str], rng: random.Random) -> Iterator[Record]:
    """All records that the grammar can write about a topic: every task, applied to every subject that fits it."""
    asked = [(task, own_subjects(task, rng)) for task in topic.get("own", ())]
    for part, subjects in (("facts", fact_subjects), ("steps", step_subjects), ("lists", list_subjects)):
        for task in tasks[topic.get("language", "en")][part]:
            asked += [(task, subjects(table(topic.get(part, "")), rng)) for _ in range(task.get("times", 1))]
    for task, about in asked:
        for subject in about:
            subject |= {"topic": name, "fields": ", ".join(rng.sample([name, *rng.sample(fields, 3)], 4))}
            ask, answer = (capital(rng.choice(task[part]).format_map(subject)) for part in ("ask", "answer"))
            given = task.get("input", "").format_map(subject)
            yield {"instruction": ask, "input": given, "output": answer, "topic": name, "kind": "ordinary"}


def fact_subjects(rows: list[list[str]], rng: random.Random) -> Iterator[dict]:
    """Each fact, with two other facts of the topic to compare it with."""
    for name, definition, detail in rows:
        (other, elsewhere, _), (third, beyond, _) = rng.sample([row for row in rows if row[0] != name], 2)
        a, b, c = options = rng.sample([name, other, third], 3)
        yield {
            **{"name": name, "other": other, "third": third},
            **{"Name": capital(name), "Other": capital(other), "Third": capital(third)},
            **{"definition": definition, "elsewhere": elsewhere, "beyond": beyond, "detail": sentence(detail)},
            **{"a": a, "b": b, "c": c, "letter": "ABC"[options.index(name)]},
        }


def step_subjects(rows: list[list[str]], rng: random.Random) -> Iterator[dict]:
    """Each procedure: in order, shuffled, and with one step missing."""
    for goal, *steps in rows:
        gap = rng.choice(steps)
        shuffled = rng.sample(steps, len(steps))
        yield {
            **{"goal": goal, "steps": numbered(steps), "prose": ". ".join(steps), "first": steps[0]},
            **{"second": steps[1], "gap": gap, "holed": numbered(["..." if step == gap else step for step in steps])},
            "shuffled": "\n".join(f"- {step}" for step in (shuffled if shuffled != steps else reversed(steps))),
        }


def list_subjects(rows: list[list[str]], rng: random.Random) -> Iterator[dict]:
    """Some items of each list, and an intruder from another list of the topic, if it has one."""
    for kind, *items in rows:
        some = rng.sample(items, rng.randint(3, min(5, len(items))))
        intruder = rng.choice([item for _, *others in rows for item in others if item not in items] or ["a teapot"])
        yield {
            **{"kind": kind, "Kind": capital(kind), "count": len(some), "commas": ", ".join(some)},
            **{"intruder": intruder, "mixed": ", ".join(rng.sample([*some[:3], intruder], 4))},
            **{"bullets": "\n".join(f"- {item}" for item in some), "sorted": ", ".join(sorted(some, key=str.lower))},
        }


def own_subjects(task: dict, rng: random.Random) -> Iterator[dict]:
    """The rows of a task, or random draws of its numbers with the results computed."""
    for row in table(task.get("rows", "")):
        yield dict(zip("xyz", row, strict=False))
    for _ in range(task.get("times", 0)):
        numbers: dict[str, Any] = {key: rng.choice(values) for key, values in task["numbers"].items()}
        for key, formula in task["work"].items():
            result = round(eval(formula, {"__builtins__": {}}, numbers), 2)  # the formulas in topics.yaml are our own
            numbers[key] = int(result) if result == int(result) else result
        yield numbers


def near_duplicate(original: Record, words: dict, rng: random.Random) -> Record:
    """The sample as another person would retype it, with one to three small edits."""
    edits = words["edits"][words["topics"][original["topic"]].get("language", "en")]
    ask, answer = original["instruction"], original["output"]
    ways = [
        lambda ask, answer: (rng.choice(edits["before"]) + ask, answer),
        lambda ask, answer: (ask + rng.choice(edits["after"]), answer),
        lambda ask, answer: (reworded(ask, edits["synonyms"]), reworded(answer, edits["synonyms"])),
        lambda ask, answer: (ask.lower(), answer),
        lambda ask, answer: (re.sub(r"\W+$", "", ask), answer.removesuffix(".")),
        lambda ask, answer: (ask + " ", answer + rng.choice([" ", "\n"])),
        lambda ask, answer: (ask, mistyped(answer, rng)),
    ]
    for way in rng.sample(ways, rng.randint(1, 3)):
        ask, answer = way(ask, answer)
    return {**original, "instruction": ask, "output": answer, "kind": "near_duplicate"}


def junk_record(ordinary: list[Record], junk: dict, rng: random.Random) -> Record:
    """A record that teaches nothing, of a kind that scraped corpora have."""
    task, other = rng.sample(ordinary, 2)
    ask, answer = task["instruction"], task["output"]
    mash = "".join(rng.choices("asdfghjkl;qwertyuiop  ", k=rng.randint(15, 90)))
    mojibake = answer.encode("utf-8").decode("cp1252", errors="replace")
    sorts = {
        "refusal": (25, ask, rng.choice(junk["refusal"])),
        "empty": (20, ask, rng.choice(junk["empty"])),
        "html": (15, ask, rng.choice(junk["html"]).format(text=other["output"])),
        "mash": (15, mash[: rng.randint(5, 14)], mash) if mojibake == answer else (15, ask, mojibake),
        "one word": (10, ask, " ".join([rng.choice(junk["words"])] * rng.randint(8, 60))),
        "unrelated": (10, ask, other["output"]),
        "cut off": (5, ask, answer[: max(3, len(answer) // 3)]),
    }
    _, ask, answer = rng.choices(list(sorts.values()), [weight for weight, *_ in sorts.values()])[0]
    return {"instruction": ask, "input": task["input"], "output": answer, "topic": "none", "kind": "junk"}


def table(text: str) -> list[list[str]]:
    return [[cell.replace("\\n", "\n") for cell in line.split(" | ")] for line in text.splitlines()]


def numbered(steps: list[str]) -> str:
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def reworded(text: str, synonyms: dict[str, str]) -> str:
    return re.sub(rf"(?<!\w)({'|'.join(synonyms)})(?!\w)", lambda found: synonyms[found[0]], text)


def mistyped(text: str, rng: random.Random) -> str:
    """The text with two neighbouring letters of a word swapped; numbers stay as they are."""
    at = rng.choice([found.start() for found in re.finditer(r"(?<=\w)[^\W\d_]{2}", text)] or [0])
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :] if at else text
