"""Texts to try a model or a tokenizer with: short and long ones, of several scripts."""

PROBES = (
    "Yes.",
    "Name three primary colors.",
    "Écris une lettre polie à ton voisin pour lui demander de baisser la musique après 22 h.",
    "请把下面的句子翻译成英文，并解释其中的成语：他做事总是画蛇添足，结果适得其反。",
    "def median(values):\n    ordered = sorted(values)\n    return ordered[len(ordered) // 2]  # of 3, 5, 7 ...",
    "Напишите краткое изложение причин, по которым Римская империя пришла в упадок, в трёх пунктах.",
    "اشرح الفرق بين الطقس والمناخ بجملتين. 気候変動について簡単に説明してください。",
    "Give a step-by-step plan to move a small web shop to a new host.\n" + "Check the backups, lower the DNS time "
    "to live, copy the database (12.4 GB), compare the row counts, switch the traffic and keep the old host. " * 5,
)
