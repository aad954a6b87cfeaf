"""The gradients of classifiers against a loop with autograd and published vectors, and the absence of padding in them.

test_gradient.py has those of language models.
"""

import json

import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.gradients import per_sample
from operators.gradients.class_losses import class_losses, head_layers
from operators.gradients.gradient_norm import GradientNorm
from operators.kernels.token_stats import el2n
from operators.losses.classifier import predictions
from operators.models.by_length import Budget
from operators.models.forward import linear_layers
from operators.supervision.labels import Labelling, Labels
from operators.supervision.supervised import IGNORED, Supervised
from tests.batches import batch
from tests.tiny import tiny_encoder, tiny_tokenizer

LABELS = Labels("task", classes=("a", "b", "c"))
SLOTTED = Labels("task", "slots", classes=("a", "b", "c"), slot_names=("x", "y"))
TEXTS = [("Name a river.", "a"), ("列举三种颜色，谢谢。", "b"), ("Écris un poème. " * 9, "c"), ("اشرح", "a")]


def table(rows=TEXTS):
    records = [json.dumps({"task": name, "slots": ["x"] * len(text.split())}).encode() for text, name in rows]
    made = batch([(text, "") for text, _ in rows])
    return made.set_column(made.schema.get_field_index("raw"), "raw", pa.array(records, pa.large_binary()))


def saved(folder, labels):
    """Writes a classifier of the labels with a random head, and returns the folder."""
    kind = AutoModelForTokenClassification if labels.slots else AutoModelForSequenceClassification
    torch.manual_seed(1)
    names = dict(enumerate((*labels.classes, *labels.slot_names)))
    model = kind.from_pretrained(tiny_encoder(folder), id2label=names)
    for name, weight in model.named_parameters():
        if name.startswith("classifier."):
            nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[LABELS, SLOTTED], ids=["classes", "slots"])
def classifier(request, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("classifier"), request.param), request.param


def rows_of(folder, labels):
    labelling = Labelling(AutoTokenizer.from_pretrained(folder), labels, 48)
    return [labelling(*each) for each in zip(*(table()[n].to_pylist() for n in ("id", "messages", "raw")), strict=True)]


def loop(folder, labels, wanted):
    """(rows, P) gradients of the wanted layers' weights and biases and the losses, one sample after another."""
    kind = AutoModelForTokenClassification if labels.slots else AutoModelForSequenceClassification
    model = kind.from_pretrained(folder).eval()
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and wanted(name)}
    weights = [weight for layer in layers.values() for weight in layer.parameters()]
    gradients, losses = [], []
    for row in rows_of(folder, labels):
        logits = model(input_ids=torch.tensor([row.input_ids])).logits[0]
        targets = torch.tensor(row.labels)
        if labels.slots:
            words = targets > 2
            of_slots = F.cross_entropy(logits[words][:, 3:], targets[words] - 3, reduction="sum")
            loss = F.cross_entropy(logits[0, :3], targets[0]) / 2 + of_slots / 2
        else:
            loss = F.cross_entropy(logits, targets[-1])
        found = torch.autograd.grad(loss, weights)
        gradients.append(torch.cat([each.flatten() for each in found]))
        losses.append(float(loss.detach()))
    return torch.stack(gradients), losses


@pytest.mark.parametrize("of", ["linear", "head"])
def test_norms_are_those_of_the_loop(classifier, of):
    folder, labels = classifier
    gradients, losses = loop(folder, labels, lambda name: of == "linear" or name.startswith("classifier"))
    operator = GradientNorm(Checkpoint(str(folder)), of=of, labels=labels, max_tokens=48, precision="float32")
    compute = operator.load()
    values = compute(table())
    assert [value["norm"] for value in values] == pytest.approx(gradients.norm(dim=1).tolist(), rel=1e-5)
    assert [value["nll_mean"] for value in values] == pytest.approx(losses, rel=1e-5)
    rows = rows_of(folder, labels)
    assert [value["tokens"] for value in values] == [len(row.input_ids) for row in rows]
    assert [value["truncated"] for value in values] == [row.truncated for row in rows] == [False, False, True, False]
    assert [compute(table().slice(at, 1))[0] for at in range(4)] == values
    assert pa.array(values, operator.gives).null_count == 0


def test_padding_has_no_part_in_gradients(classifier):
    folder, labels = classifier
    kind = AutoModelForTokenClassification if labels.slots else AutoModelForSequenceClassification
    model = kind.from_pretrained(folder).eval().requires_grad_(False)
    rows, layers = rows_of(folder, labels), linear_layers(model)
    assert len({len(row.input_ids) for row in rows}) > 2
    blocks = {}
    losses = class_losses(labels)
    together = per_sample.backward(model, rows, layers, lambda name, f: blocks.update({name: f.gradients()}), losses)
    found = torch.cat([blocks[name] for name in per_sample.parameters(layers)], 1)
    for at, row in enumerate(rows):
        alone = per_sample.backward(model, [row], layers, lambda name, f: blocks.update({name: f.gradients()}), losses)
        expected = torch.cat([blocks[name] for name in per_sample.parameters(layers)], 1)[0]
        assert (found[at] - expected).norm() <= 1e-5 * expected.norm()
        torch.testing.assert_close(together[at], alone[0], rtol=1e-5, atol=0)
    assert all(weight.grad is None and not weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("kind", ["Bert", "Llama", "ModernBert"])
def test_norms_of_other_classifiers_together_are_those_of_autograd_one_by_one(kind):
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
    config = getattr(transformers, f"{kind}Config")(vocab_size=61, num_labels=3, **shape, **special)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.2)
    texts = [torch.randint(3, 61, (length,)).tolist() for length in (4, 9, 1, 17)]
    rows = [Supervised(at, (*text,), (IGNORED,) * (len(text) - 1) + (at % 3,)) for at, text in enumerate(texts)]
    layers = linear_layers(model)
    expected = []
    for row in rows:
        loss = F.cross_entropy(model(input_ids=torch.tensor([row.input_ids])).logits, torch.tensor([row.labels[-1]]))
        gradients = torch.autograd.grad(loss, list(per_sample.parameters(layers).values()))
        expected.append(torch.cat([each.flatten() for each in gradients]).norm())
    squares = {}
    model.requires_grad_(False)
    per_sample.backward(
        model, rows, layers, lambda name, f: squares.update({name: f.squared_norms()}), class_losses(LABELS)
    )
    torch.testing.assert_close(sum(squares.values()).sqrt(), torch.stack(expected), rtol=1e-5, atol=0)


class LinearSoftmax(nn.Module):
    """Computes x W + b for the x of a token, with W = [[1, 0, -1], [0, 2, 0]] and b = 0."""

    base_model_prefix = "body"
    config = type("config", (), {"pad_token_id": 0})

    def __init__(self):
        super().__init__()
        self.states = nn.Parameter(torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]]), requires_grad=False)
        self.head = nn.Linear(2, 3).requires_grad_(False)
        self.head.weight.copy_(torch.tensor([[1.0, 0], [0, 2], [-1, 0]]))
        self.head.bias.zero_()

    def forward(self, input_ids, attention_mask):
        return type("output", (), {"logits": self.head(self.states[input_ids[:, 0]])})


def test_the_published_vectors_of_a_linear_softmax():
    model = LinearSoftmax()
    rows = [Supervised(at, (at + 1, 0)[: 2 - at % 2], (IGNORED, y)[at % 2 :]) for at, y in enumerate((0, 0, 2))]
    logits = predictions(model, rows, LABELS)
    assert el2n(logits.classes, logits.labels).tolist() == pytest.approx([0.42433614, 1.1954165, 1.2230703], rel=1e-6)
    norms, losses = per_sample.norms(model, rows, head_layers(model), Budget(1), class_losses(LABELS))
    assert norms.tolist() == pytest.approx([0.60010195, 1.6905742, 2.1184201], rel=1e-6)
    assert losses.tolist() == pytest.approx(logits.losses().tolist())


def test_a_layer_that_is_given_tokens_of_some_texts_is_not_taken_for_a_head():
    class Experts(LinearSoftmax):
        """Sends two tokens to an expert, whatever texts they are of: as many as there are texts."""

        def __init__(self):
            super().__init__()
            self.body = nn.ModuleDict({"expert": nn.Linear(2, 2).requires_grad_(False)})

        def forward(self, input_ids, attention_mask):
            states = self.states[input_ids]
            states[0] = self.body["expert"](states[0])
            return type("output", (), {"logits": self.head(states[:, 0])})

    rows = [Supervised(at, (1, 2), (IGNORED, 0)) for at in range(2)]
    model = Experts()
    with pytest.raises(ValueError, match=r"body.expert is not applied to \(samples, tokens, width\) but to \(2, 2\)"):
        per_sample.backward(model, rows, linear_layers(model), lambda name, factors: None, class_losses(LABELS))


def test_what_has_no_class_is_an_error_beside_values_and_a_classifier_has_no_adapter(tmp_path):
    folder = saved(tmp_path, LABELS)
    operator = GradientNorm(Checkpoint(str(folder)), of="head", labels=LABELS, max_tokens=48)
    assert (operator.columns(), operator.belongs_to()) == (("messages", "raw"), "record")
    found = operator.load()(table([*TEXTS[:1], ("?", "z"), ("?", ""), ("", "a"), TEXTS[1]]))
    kinds = [value.kind if isinstance(value, RowError) else "" for value in found]
    assert kinds == ["", "unknown_label", "no_label", "empty_text", ""]
    with pytest.raises(ValueError, match="a classifier has no adapter"):
        GradientNorm(Checkpoint(str(folder)), labels=LABELS).load()
    with pytest.raises(ValueError, match="predicts 3 other labels: a, b, c"):
        GradientNorm(
            Checkpoint(str(folder)), of="head", labels=Labels("task", classes=("a", "b")), max_tokens=48
        ).load()


def test_linear_layers_that_are_the_smaller_part_of_a_model_are_not_taken_for_it(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"most weights of this GPT2LMHeadModel, .* such as transformer.h.0.attn.c_attn"
    ):
        GradientNorm(Checkpoint(str(tmp_path)), of="linear").load()
    assert GradientNorm(Checkpoint(str(tmp_path)), of="head").load()(batch([("a", "b")]))[0]["norm"] > 0
