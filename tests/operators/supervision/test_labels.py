"""Labels of a text and of its words, put on the tokens that tell them."""

import json

import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from operators.base import RowError
from operators.field import Field
from operators.supervision.labels import Labelling, Labels
from operators.supervision.supervised import IGNORED
from tests.tiny import tiny_encoder, tiny_tokenizer

SLOTTED = Labels("intent", "slots", "words", classes=("book", "play"), slot_names=("O", "city", "song"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tokenizer whose texts begin with a classifier's token and end with another special one."""
    return AutoTokenizer.from_pretrained(tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A tokenizer without a classifier's token."""
    return tiny_tokenizer(tmp_path_factory.mktemp("decoder"))


def asked(text):
    return [{"role": "user", "content": text}, {"role": "assistant", "content": ""}]


def labelled(tokenizer, text, record, labels=SLOTTED, max_tokens=64):
    return Labelling(tokenizer, labels, max_tokens)(7, asked(text), json.dumps(record).encode())


def shown(tokenizer, made, labels=SLOTTED) -> list[tuple[str, str]]:
    """Each token that has a label, in words."""
    names = (*labels.classes, *labels.slot_names)
    return [
        (tokenizer.decode([token]).strip(), names[label])
        for token, label in zip(made.input_ids, made.labels, strict=True)
        if label != IGNORED
    ]


def test_class_alone_is_at_the_last_token(encoder, decoder):
    labels = Labels("kind", classes=("no", "yes"))
    for tokenizer in (encoder, decoder):
        made = labelled(tokenizer, "Краткое изложение", {"kind": "yes"}, labels)
        assert list(made.input_ids) == tokenizer("Краткое изложение")["input_ids"]
        assert made.labels == (IGNORED,) * (len(made.input_ids) - 1) + (1,)
        cut = labelled(tokenizer, "Ни рыба ни мясо", {"kind": "no"}, labels, max_tokens=3)
        assert (len(cut.input_ids), cut.labels[-1], cut.truncated, made.truncated) == (3, 0, True, False)


@pytest.mark.parametrize("value", ["yes\ud800", {"of": "\udc00"}])
def test_half_of_a_surrogate_pair_in_a_label_is_a_replacement_character(decoder, value):
    raw = json.dumps({"kind": value, "slots": [value] if isinstance(value, str) else "O \ud800"}).encode()
    name, slots = Labels("kind", slots="slots").of(raw)
    assert all("\ufffd" in each for each in (name, slots[-1]))
    (told,) = Field("kind").load()(pa.table({"raw": pa.array([raw], pa.large_binary())}))
    assert told == name
    "".join([name, *slots]).encode()


def test_a_value_that_is_no_string_is_a_label_by_its_json(decoder):
    labels = Labels("stars", classes=("1", "2.5"))
    assert labelled(decoder, "good", {"stars": 2.5}, labels).labels[-1] == 1


def test_slots_are_at_the_first_token_of_their_words_in_languages_with_blanks_and_without(encoder, decoder):
    record = {"intent": "book", "words": ["flights", "to", "Oslo"], "slots": ["O", "O", "city"]}
    made = labelled(encoder, "flights to  Oslo", record)
    first, *others = [label for label in made.labels if label != IGNORED]
    assert (made.labels[0], first, others) == (0, 0, [2, 2, 3])
    at = encoder("flights to  Oslo", return_offsets_mapping=True)["offset_mapping"]
    begins = {at[place] for place, label in enumerate(made.labels) if label == 3}
    assert all("flights to  Oslo"[begin:end].strip().startswith("O") for begin, end in begins)
    chinese = {"intent": "play", "words": ["播放", "月光", "吧"], "slots": ["O", "song", "O"]}
    for tokenizer, place in ((encoder, 0), (decoder, -1)):
        made = labelled(tokenizer, "播放月光吧", chinese)
        assert made.labels[place] == 1
        assert [label for label in made.labels if label > 1] == [2, 4, 2]
    assert made.input_ids[-1] == decoder.eos_token_id


def test_a_class_token_that_the_tokenizer_has_and_does_not_use_tells_nothing(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    tokenizer.cls_token = "<pad>"
    record = {"intent": "book", "words": ["to", "Oslo"], "slots": ["O", "city"]}
    made = labelled(tokenizer, "to Oslo", record)
    assert (made.input_ids[-1], made.labels[-1]) == (tokenizer.eos_token_id, 0)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="a token at which the class can be predicted"):
        labelled(tokenizer, "to Oslo", record)


def test_strings_are_cut_at_blanks_and_words_cut_off_have_no_slot(decoder):
    labels = Labels("intent", "slots", classes=("book", "play"), slot_names=("O", "city"))
    record = {"intent": "book", "slots": "O O city"}
    assert [label for label in labelled(decoder, "flights to Oslo", record, labels).labels if label > 1] == [2, 2, 3]
    cut = labelled(decoder, "flights to Oslo", record, labels, max_tokens=4)
    assert (len(cut.input_ids), cut.labels[-1], cut.truncated) == (4, 0, True)
    assert [label for label in cut.labels if label > 1] == [2]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"words": ["a"], "slots": ["O"]}, "no_label"),
        ({"intent": "", "words": ["a"], "slots": ["O"]}, "no_label"),
        ({"intent": "fly", "words": ["a"], "slots": ["O"]}, "unknown_label: 'fly'"),
        ({"intent": "book", "words": ["a"]}, "no_slots"),
        ({"intent": "book", "slots": ["O"]}, "no_slots"),
        ({"intent": "book", "words": ["a"], "slots": ["B"]}, "unknown_label: 'B'"),
        ({"intent": "book", "words": ["a", "b"], "slots": ["O"]}, "slots_do_not_fit: 2 words and 1 slots"),
        ({"intent": "book", "words": ["a", "c"], "slots": ["O", "O"]}, "slots_do_not_fit: the word 'c'"),
        ({"intent": "book", "words": [1], "slots": ["O"]}, "no_slots"),
    ],
)
def test_a_record_that_lacks_something_says_what(decoder, record, kind):
    with pytest.raises(RowError, match=kind):
        labelled(decoder, "a b", record)


def test_an_empty_text_has_no_label(decoder):
    with pytest.raises(RowError, match="empty_text"):
        labelled(decoder, " \n", {"intent": "book", "words": [], "slots": []})
