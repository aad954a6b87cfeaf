"""Which tokens a model is trained on, in many scripts and with tokenizers of several kinds."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.base import RowError
from operators.sample import Message
from operators.supervision.supervised import IGNORED, Supervised, Supervision, Template, chat_template
from operators.supervision.templates import PREAMBLE
from tests.tiny import TEXTS, tiny_tokenizer

TEMPLATES = ("tulu", "tulu_prefixes", "alpaca", "chat", "plain")


def conversation(*contents, first="user") -> list[Message]:
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return [Message(role=roles[at % 2], content=content) for at, content in enumerate(contents)]


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("bytewise"))


@pytest.fixture(scope="module")
def blank_first():
    """A tokenizer of Llama-2's kind: a blank is put before every text, and what it does not know becomes bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    blanks = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"]
    learned = Tokenizer(models.BPE())
    learned.normalizer = blanks
    texts = [text.replace("\n", " ") for text in TEXTS]
    learned.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    vocabulary = model["vocab"] | {f"<0x{byte:02X}>": len(model["vocab"]) + byte for byte in range(256)}
    merges = [tuple(merge) for merge in model["merges"]]
    made = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = blanks
    made.add_special_tokens(special)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def trained_on(tokenizer, made):
    return tokenizer.decode([label for label in made.labels if label != IGNORED], skip_special_tokens=False)


def whole(tokenizer, made):
    return tokenizer.decode(made.input_ids, skip_special_tokens=False)


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


WORDS = st.text(st.characters(exclude_categories=["Cs", "Co", "Cn"]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(prompt=WORDS, response=st.one_of(WORDS, st.sampled_from(["\nb", "\n\n b", "  4", "é", "👍🏽", "ا\n"])))
def test_borders_are_exact_in_every_template(bytewise, prompt, response):
    for template in ("alpaca", "plain", "tulu"):
        if not response.strip():
            continue
        made = Supervision(bytewise, template, 10_000)(0, conversation(prompt, response))
        said = {"plain": response, "alpaca": response + "</s>", "tulu": response.strip() + "</s>\n"}
        assert trained_on(bytewise, made) == said[template]
        assert whole(bytewise, made).endswith(said[template])


@pytest.mark.parametrize("response", ["Red, yellow", "画蛇添足", "\nx", "Écris", "4", " blue", "ʘ"])
def test_no_blank_is_put_before_a_response_by_a_tokenizer_that_puts_one_before_a_text(blank_first, response):
    said = response.strip()
    written: dict[Template, str] = {
        "tulu": f"<|user|>\nName colors.\n<|assistant|>\n{said}</s>\n",
        "alpaca": f"{PREAMBLE}\n\n### Instruction:\nName colors.\n\n### Response:{response}</s>",
        "plain": f"Name colors.{response}",
    }
    for template, text in written.items():
        made = Supervision(blank_first, template, 500)(0, conversation("Name colors.", response))
        assert whole(blank_first, made) == f"<s> {text}"
        assert text.endswith(trained_on(blank_first, made))


@pytest.mark.parametrize("response", ["Red, yellow", "画蛇添足", "\nx", "Écris", "4", "ʘ"])
def test_tokens_are_those_of_the_whole_text_where_that_has_a_border_there(blank_first, bytewise, response):
    for tokenizer in (blank_first, bytewise):
        made = Supervision(tokenizer, "plain", 500)(0, conversation("Name colors.", response))
        assert list(made.input_ids) == tokenizer(f"Name colors.{response}")["input_ids"]


def test_labels_are_the_tokens_or_ignored(bytewise):
    for template in TEMPLATES:
        made = Supervision(bytewise, template, 200)(0, conversation("a b", "c d " * 400))
        assert len(made.input_ids) == len(made.labels) == 200
        assert made.truncated
        assert set(zip(made.input_ids, made.labels, strict=True)) <= {
            pair for token in made.input_ids for pair in ((token, token), (token, IGNORED))
        }
        assert made.count == sum(label != IGNORED for label in made.labels)


@pytest.mark.parametrize("template", TEMPLATES)
def test_nothing_to_supervise_is_a_row_error(bytewise, template):
    supervision = Supervision(bytewise, template, 30)
    for messages in ([], conversation("a"), conversation("a", ""), conversation("a", " \n")):
        with pytest.raises(RowError, match=r"^nothing_to_supervise: no assistant"):
            supervision(0, messages)
    with pytest.raises(RowError, match=r"^nothing_to_supervise: the response begins after the first 30 tokens"):
        supervision(0, conversation("长" * 100, "短"))


@pytest.mark.parametrize("template", sorted({*TEMPLATES} - {"tulu_prefixes"}))
def test_an_empty_answer_between_others_is_not_trained_on(bytewise, template):
    made = Supervision(bytewise, template, 500)(0, conversation("a", "", "b", "c"))
    assert trained_on(bytewise, made).startswith("c")
    assert trained_on(bytewise, made).count("</s>") <= 1


def test_first_token_is_not_counted_as_it_follows_nothing():
    assert Supervised(0, (5, 6, 7), (5, IGNORED, 7)).count == 1


def test_response_that_is_the_first_token_alone_is_a_row_error(bytewise):
    beginless = copy.deepcopy(bytewise)
    beginless.bos_token = None
    with pytest.raises(RowError, match=r"^nothing_to_supervise"):
        Supervision(beginless, "plain", 1)(0, conversation("ab", first="assistant"))


def test_tokenizer_without_what_a_template_needs_is_refused(bytewise):
    bare = copy.deepcopy(bytewise)
    bare.eos_token = bare.chat_template = None
    for template in ("tulu", "tulu_prefixes", "alpaca"):
        with pytest.raises(ValueError, match="no end-of-sequence token"):
            Supervision(bare, template, 10)
    with pytest.raises(ValueError, match="no chat template"):
        Supervision(bare, "chat", 10)
    assert Supervision(bare, "plain", 10)(0, conversation("a", "b")).count == 1
