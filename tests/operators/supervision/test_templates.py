"""The templates: how conversations are written out, and which part is trained on."""

import pytest

from operators.asking.local_model import prompt_text
from operators.base import RowError
from operators.sample import Message
from operators.scoring.reward import _chat as reward_chat
from operators.supervision.supervised import IGNORED, Supervision, chat_template
from operators.supervision.templates import PREAMBLE
from tests.operators.supervision.written import conversation, trained_on, whole


@pytest.mark.parametrize("template", ["tulu", "alpaca"])
@pytest.mark.parametrize(
    "messages",
    [
        conversation("Ça va ? ", "Oui."),
        [Message(role="system", content="Sois bref."), *conversation("你呢？", "很好")],
        conversation("Un.", "Deux.", "三", "四"),
    ],
)
def test_a_model_is_asked_in_the_tokens_that_it_was_trained_on(bytewise, blank_first, template, messages):
    for tokenizer in (bytewise, blank_first) if len(messages) < 4 else (bytewise,):
        trained = Supervision(tokenizer, template, 512)(0, messages)
        last = max(at for at, label in enumerate(trained.labels) if label == IGNORED)
        prompt = tokenizer.apply_chat_template(
            messages[:-1],
            chat_template=chat_template(tokenizer, template),
            add_generation_prompt=True,
            tokenize=False,
        )
        assert tuple(tokenizer(prompt, add_special_tokens=False)["input_ids"]) == trained.input_ids[: last + 1]
    assert chat_template(bytewise, "chat") is chat_template(bytewise, "plain") is None


def test_tulu_is_written_as_less_writes_it(bytewise):
    messages = [Message(role="system", content=" Sois bref. "), *conversation("Ça va ?\n", " Oui. ", "你呢？", "很好")]
    made = Supervision(bytewise, "tulu", 500)(7, messages)
    assert made.id == 7
    assert not made.truncated
    assert whole(bytewise, made) == (
        "<s><|system|>\nSois bref.\n<|user|>\nÇa va ?\n<|assistant|>\nOui.</s>\n"
        "<|user|>\n你呢？\n<|assistant|>\n很好</s>\n"
    )
    assert trained_on(bytewise, made) == "Oui.</s>\n很好</s>\n"
    assert made.input_ids.count(bytewise.eos_token_id) == 2


def by_prefixes(tokenizer, messages, limit) -> tuple[list[int], list[int]]:
    """The released code's tokens and labels, by its description: prompts end where their prefix's tokens end."""

    def tokens(text):
        return tokenizer(text, truncation=True, max_length=limit)["input_ids"]

    def written(some):
        ends = {"assistant": tokenizer.eos_token}
        return "".join(f"<|{m['role']}|>\n{m['content'].strip()}{ends.get(m['role'], '')}\n" for m in some)

    found = tokens(written(messages))
    labels = list(found)
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            answered = [m["role"] for m in messages[at + 1 : at + 2]] == ["assistant"]
            until = written(messages[: at + 1]) + ("<|assistant|>\n" if answered else "")
            for masked in range(len(tokens(written(messages[:at]))) if at else 0, len(tokens(until))):
                labels[masked] = IGNORED
    return found, labels


CONVERSATIONS = [
    conversation("Name colors.", "Red, yellow"),
    conversation(" Ça va ?\n", " Oui.\n\n", "你呢？", "很好"),
    [Message(role="system", content="Sois bref."), *conversation("два", "три", "", "", "five", "6")],
    [*conversation("a", "b"), Message(role="assistant", content="c")],
    conversation("hello first", "question", "answer", "thanks", first="assistant"),
    conversation("a" * 50, "draw: 画蛇添足 " * 30, "and", "so " * 40),
]


@pytest.mark.parametrize("limit", [500, 100])
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_tulu_by_prefixes_has_the_tokens_and_labels_of_the_released_less(bytewise, blank_first, messages, limit):
    for tokenizer in (bytewise, blank_first):
        made = Supervision(tokenizer, "tulu_prefixes", limit)(0, messages)
        assert (list(made.input_ids), list(made.labels)) == by_prefixes(tokenizer, messages, limit)


def test_only_tulu_by_prefixes_learns_a_blank_behind_an_answer_where_the_tokenizer_puts_one(bytewise, blank_first):
    messages = conversation("Name colors.", "Red, yellow", "你呢？", "很好")
    found = {
        (tokenizer is blank_first, template): Supervision(tokenizer, template, 500)(0, messages)
        for tokenizer in (bytewise, blank_first)
        for template in ("tulu", "tulu_prefixes")
    }
    bytewise_pieces, bytewise_prefixes = found[False, "tulu"], found[False, "tulu_prefixes"]
    assert bytewise_pieces == bytewise_prefixes
    assert trained_on(blank_first, found[True, "tulu"]) == "Red, yellow</s>\n很好</s>\n"
    assert trained_on(blank_first, found[True, "tulu_prefixes"]) == "Red, yellow</s> \n很好</s> \n"
    assert found[True, "tulu_prefixes"].count == found[True, "tulu"].count + 2


def test_alpaca_has_its_sections_and_a_system_message_for_a_preamble(bytewise):
    made = Supervision(bytewise, "alpaca", 500)(0, conversation("Назови реку.", "Дунай"))
    assert whole(bytewise, made) == f"<s>{PREAMBLE}\n\n### Instruction:\nНазови реку.\n\n### Response:Дунай</s>"
    assert trained_on(bytewise, made) == "Дунай</s>"
    messages = [Message(role="system", content="Answer."), *conversation("a", "b", "c", "d")]
    made = Supervision(bytewise, "alpaca", 500)(0, messages)
    sections = "\n\n### Instruction:\na\n\n### Response:b</s>\n\n### Instruction:\nc\n\n### Response:d</s>"
    assert whole(bytewise, made) == f"<s>Answer.{sections}"
    assert trained_on(bytewise, made) == "b</s>d</s>"


def test_plain_adds_nothing(bytewise):
    made = Supervision(bytewise, "plain", 500)(0, conversation("Rate this. Score: ", "4"))
    assert whole(bytewise, made) == "<s>Rate this. Score: 4"
    assert trained_on(bytewise, made) == "4"
    assert made.count == 1


def test_chat_is_the_tokenizers_template(bytewise):
    messages = conversation("Hej", "Hallå", "気候", "変動")
    made = Supervision(bytewise, "chat", 500)(0, messages)
    assert whole(bytewise, made) == bytewise.apply_chat_template(messages, tokenize=False)
    assert trained_on(bytewise, made) == "Hallå</s>\n変動</s>\n"


def test_chat_template_that_shows_the_last_thought_only(bytewise, monkeypatch):
    template = (
        "{% for m in messages %}<{{ m.role }}>"
        "{% if m.role == 'assistant' and loop.last %}[no thought]{% endif %}{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    monkeypatch.setattr(bytewise, "chat_template", template)
    made = Supervision(bytewise, "chat", 500)(0, conversation("a", "b", "c", "d"))
    assert whole(bytewise, made) == "<user>a\n<assistant>b\n<user>c\n<assistant>[no thought]d\n"
    assert trained_on(bytewise, made) == "b\n[no thought]d\n"


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('a user first') }}",
        "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
        "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
    ],
)
def test_chat_template_that_refuses_or_rewrites_is_a_row_error(bytewise, monkeypatch, template):
    monkeypatch.setattr(bytewise, "chat_template", template)
    with pytest.raises(RowError, match=r"^chat_template"):
        Supervision(bytewise, "chat", 500)(0, conversation("question", "answer"))


def test_a_template_that_writes_today_s_date_writes_the_same_on_any_day(bytewise, monkeypatch):
    messages = conversation("a", "b")
    dated = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    monkeypatch.setattr(bytewise, "chat_template", dated + "{% if add_generation_prompt %}<assistant>{% endif %}")
    made = Supervision(bytewise, "chat", 500)(0, messages)
    assert whole(bytewise, made) == "26 Jul 2024<user>a<assistant>b"
    assert prompt_text(bytewise, messages[:1]) == "26 Jul 2024<user>a<assistant>"
    assert bytewise.decode(reward_chat(bytewise, messages[:1], "b")["input_ids"]) == "26 Jul 2024<user>a<assistant>b"


THINKS: list[Message] = [
    {"role": "tools", "content": '[{"type": "function", "function": {"name": "f"}}]'},
    {"role": "user", "content": "問?"},
    {
        "role": "assistant",
        "content": "",
        "reasoning": "先查",
        "tool_calls": '[{"id": "1", "name": "f", "arguments": {"x": 1}}]',
    },
    {"role": "tool", "content": "42", "name": "f"},
    {"role": "assistant", "content": "答", "reasoning": "知道了"},
]
AWARE = (
    "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}!{{ c.function.name }}:{{ c.function.arguments.x }}{% endfor %}|{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
UNAWARE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}|{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_thoughts_calls_and_tools_are_written_as_the_template_of_the_model_writes_them(bytewise, monkeypatch):
    monkeypatch.setattr(bytewise, "chat_template", AWARE)
    made = Supervision(bytewise, "chat", 500)(0, THINKS)
    assert whole(bytewise, made) == "[f]<user>問?|<assistant>(先查)!f:1|<tool>42|<assistant>(知道了)答|"
    assert trained_on(bytewise, made) == "(先查)!f:1|(知道了)答|"
    monkeypatch.setattr(bytewise, "chat_template", UNAWARE)
    plain = Supervision(bytewise, "chat", 500)(0, [THINKS[1], THINKS[4]])
    assert trained_on(bytewise, plain) == "<think>\n知道了\n</think>\n\n答|"


def test_calls_and_blanks_are_found_where_the_template_thinks_before_the_last_answer_only(bytewise, monkeypatch):
    template = (
        "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}[no thought]{% endif %}"
        "{{ m.content }}{% for c in m.tool_calls or [] %}!{{ c.function.name }}{% endfor %}<end>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    monkeypatch.setattr(bytewise, "chat_template", template)
    called: Message = {"role": "assistant", "content": "", "tool_calls": '[{"name": "f", "arguments": {}}]'}
    asked = [*conversation("q"), called, Message(role="tool", content="42")]
    made = Supervision(bytewise, "chat", 500)(0, [*asked, *conversation(" end \n", "q", "a", first="assistant")])
    assert trained_on(bytewise, made) == "!f<end>\n end \n<end>\n[no thought]a<end>\n"


def test_thoughts_are_a_part_of_the_answer_in_the_templates_of_this_module(bytewise):
    made = Supervision(bytewise, "tulu", 500)(0, [THINKS[1], THINKS[4]])
    assert trained_on(bytewise, made) == "<think>\n知道了\n</think>\n\n答</s>\n"
    called = Supervision(bytewise, "plain", 500)(0, THINKS[1:3])
    assert trained_on(bytewise, called).endswith('</think>\n\n\n[{"id": "1", "name": "f", "arguments": {"x": 1}}]')
