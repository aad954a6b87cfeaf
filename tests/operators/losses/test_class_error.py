"""How wrong a classifier is, against its logits written out, and against the vectors of the NLU data diets."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.losses.class_error import ClassError, _values
from operators.supervision.labels import Labelling, Labels
from operators.supervision.supervised import IGNORED, Supervised
from operators.training.finetune import Finetune
from operators.training.loop import train
from tests.batches import batch
from tests.tiny import tiny_encoder

WORDS = ["flights to Oslo", "play 月光", "to Lima or Oslo", "play it now please"]
SLOTS = ["O O city", "O song", "O city O city", "O O O O"]
INTENTS = ["book", "play", "book", "play"]
SLOTTED = Labels("intent", "slots", classes=("book", "play"), slot_names=("O", "city", "song"))
PLAIN = Labels("intent", classes=("book", "play"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("base"))


def table():
    records = [
        json.dumps({"intent": intent, "slots": slots}).encode() for intent, slots in zip(INTENTS, SLOTS, strict=True)
    ]
    made = batch([(text, "") for text in WORDS])
    return made.set_column(made.schema.get_field_index("raw"), "raw", pa.array(records, pa.large_binary()))


def trained(base, labels, folder):
    declaration = Finetune(
        Checkpoint(str(base)), lora=None, labels=labels, epochs=2, batch=2, max_tokens=32, learning_rate=1e-3,
        precision="float32",
    )  # fmt: skip
    labelling = Labelling(AutoTokenizer.from_pretrained(base), labels, 32)
    rows = [
        labelling(*each)
        for each in zip(*(table()[name].to_pylist() for name in ("id", "messages", "raw")), strict=True)
    ]
    return train(declaration, rows, folder), rows


@pytest.mark.parametrize(
    ("labels", "kind"), [(PLAIN, AutoModelForSequenceClassification), (SLOTTED, AutoModelForTokenClassification)]
)
def test_errors_are_those_of_the_logits_written_out(base, tmp_path, labels, kind):
    epochs, rows = trained(base, labels, tmp_path)
    model = kind.from_pretrained(epochs[-1]).eval()
    assert [model.config.id2label[at] for at in range(2)] == ["book", "play"]
    values = ClassError(Checkpoint(str(epochs[-1])), labels, 32).load()(table())
    for row, value in zip(rows, values, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0]
        if labels.slots:
            targets = torch.tensor(row.labels)
            errors = (logits[targets > 1][:, 2:].softmax(1) - F.one_hot(targets[targets > 1] - 2, 3)).norm(dim=1)
            assert value["slot_sum"] == pytest.approx(float(errors.sum()), rel=1e-5)
            assert value["slot_fro"] == pytest.approx(float(errors.norm()), rel=1e-5)
            assert value["slots"] == len(errors) == len(WORDS[row.id].split())
            assert value["slots_right"] == int((logits[targets > 1][:, 2:].argmax(1) == targets[targets > 1] - 2).sum())
            logits, label = logits[targets == targets[0]][0, :2], row.labels[0]
        else:
            label = row.labels[-1]
            assert (value["slots"], value["slot_fro"]) == (0, 0.0)
        p = logits.softmax(0)
        assert value["el2n"] == pytest.approx(float((p - F.one_hot(torch.tensor(label), 2)).norm()), rel=1e-5)
        assert value["nll_mean"] == pytest.approx(float(-p[label].log()), rel=1e-5)
        assert value["right"] == bool(p.argmax() == label)
        assert value["tokens"] == len(row.input_ids)


def test_the_published_vector_of_an_intent_and_its_slots():
    class Fixed:
        """A model that tells the vector's probabilities."""

        config = type("config", (), {"pad_token_id": 0})

        def parameters(self):
            return iter([torch.zeros(1)])

        def __call__(self, **given):
            logits = torch.full((1, 4, 6), -20.0)
            logits[0, 0, :3] = torch.tensor([0.7, 0.2, 0.1]).log()
            logits[0, 1, 3:] = torch.tensor([0.1, 0.8, 0.1]).log()
            logits[0, 2, 3:] = torch.tensor([0.7, 0.2, 0.1]).log()
            return type("output", (), {"logits": logits})

    labels = Labels("i", "s", classes=("a", "b", "c"), slot_names=("x", "y", "z"))
    row = Supervised(0, (1, 5, 6, 7), (0, 5, 3, IGNORED))
    (value,) = _values(Fixed(), [row], labels)
    assert not isinstance(value, RowError)
    assert value["el2n"] == pytest.approx(0.374166, rel=1e-5)
    assert value["slot_sum"] == pytest.approx(1.208305 + 0.374166, rel=1e-5)
    assert np.hypot(value["el2n"], value["slot_fro"]) == pytest.approx(1.3190907, rel=1e-6)
    assert value["el2n"] + value["slot_sum"] == pytest.approx(1.9566362, rel=1e-6)
    assert (value["el2n"] + value["slot_sum"] / value["slots"]) / 2 == pytest.approx(0.5827005, rel=1e-6)


def test_dropout_is_each_samples_own(base, tmp_path):
    epochs, _ = trained(base, SLOTTED, tmp_path)
    operator = ClassError(Checkpoint(str(epochs[-1])), SLOTTED, 32, dropout="on")
    compute = operator.load()
    together = compute(table())
    assert [compute(table().slice(at, 1))[0] for at in range(4)] == together
    assert together != ClassError(Checkpoint(str(epochs[-1])), SLOTTED, 32).load()(table())


def test_a_model_that_tells_other_labels_is_refused(base, tmp_path):
    epochs, _ = trained(base, PLAIN, tmp_path)
    other = Labels("intent", classes=("play", "book"))
    with pytest.raises(ValueError, match="predicts 2 other labels: book, play"):
        ClassError(Checkpoint(str(epochs[-1])), other, 32).load()
