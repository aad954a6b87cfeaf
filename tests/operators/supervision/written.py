"""Conversations, and what is written and trained on of them."""

from operators.sample import Message
from operators.supervision.supervised import IGNORED

TEMPLATES = ("tulu", "tulu_prefixes", "alpaca", "chat", "plain")


def conversation(*contents, first="user") -> list[Message]:
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return [Message(role=roles[at % 2], content=content) for at, content in enumerate(contents)]


def trained_on(tokenizer, made):
    return tokenizer.decode([label for label in made.labels if label != IGNORED], skip_special_tokens=False)


def whole(tokenizer, made):
    return tokenizer.decode(made.input_ids, skip_special_tokens=False)
