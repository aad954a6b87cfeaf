"""A batch of samples as a worker gets it: several languages, empty texts, a very long one."""

import pyarrow as pa

from operators.sample import SAMPLE, text_sha

TEXTS = [
    ("Name a river.", "The Danube."),
    ("列举三种颜色。", "红色、蓝色和绿色。"),
    ("Écris un poème.", "Il pleut. " * 400),
    ("?", ""),
    ("", ""),
    ("\x00 \u202e", "👍🏽 e\u0301"),
]


def batch(texts=TEXTS) -> pa.Table:
    """The batch of these (instruction, response) pairs."""
    messages = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}] for asked, answered in texts
    ]
    columns = {
        "id": list(range(len(texts))),
        "sha": [text_sha(each) for each in messages],
        "text_sha": [text_sha(each) for each in messages],
        "source": ["made"] * len(texts),
        "line": list(range(1, len(texts) + 1)),
        "messages": messages,
        "raw": [b'{"task": "x"}' if i % 2 else b"{}" for i in range(len(texts))],
        "rejected": [None] * len(texts),
        "label": [None] * len(texts),
    }
    return pa.table(columns, schema=SAMPLE)
