"""Everything that runs a model, on CUDA against the CPU, with tiny models.

float32 is compared number by number; `auto`, which is bfloat16 on most GPUs, by its direction and its order.
"""

import json
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest
import torch

from jobs.engine.execute.model_room import gpus_here
from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.gradients.gradient import Gradient, Projected
from operators.gradients.gradient_norm import GradientNorm
from operators.gradients.target_directions import directions
from operators.losses.class_error import ClassError
from operators.losses.loss import FIELDS, Loss
from operators.models import memory
from operators.models.ahead import FEWEST_ROWS
from operators.scoring.reward import Reward
from operators.scoring.scorer import Scorer
from operators.supervision.labels import Labelling, Labels
from operators.supervision.supervised import Supervision
from operators.training import ranks
from operators.training.finetune import Finetune, LoRA
from operators.training.loop import train
from tests.batches import batch
from tests.runs import declared, lines, tensors
from tests.tiny import TEXTS, tiny_causal, tiny_encoder, tiny_reward

DEVICE = "cuda"
LIMIT = 64
PAIRS = [(asked[:40], answered[: 10 + 15 * at]) for at, asked in enumerate(TEXTS) for answered in TEXTS[:4]]
if not torch.cuda.is_available():
    PAIRS = PAIRS[:8]


@contextmanager
def on_cpu():
    """Operators that are loaded here see no GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


def both(operator, rows=None) -> tuple[list, list]:
    """The values of an operator on the GPU and on the CPU."""
    rows = batch(PAIRS) if rows is None else rows
    there = operator.load()(rows)
    with on_cpu():
        here = operator.load()(rows)
    assert [isinstance(value, RowError) for value in there] == [isinstance(value, RowError) for value in here]
    return list(there), list(here)


def cosine(first, second) -> float:
    """The least cosine between vectors in the same place."""
    first, second = np.stack(first).astype(np.float64), np.stack(second).astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(1) / lengths).min())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def supervised(base):
    from transformers import AutoTokenizer

    supervision = Supervision(AutoTokenizer.from_pretrained(base), "tulu", LIMIT)
    return [supervision(at, messages) for at, messages in enumerate(batch(PAIRS)["messages"].to_pylist())]


@pytest.fixture(scope="module")
def epoch(base, tmp_path_factory):
    """The folder of a warm-up of one epoch, trained on the CPU."""
    lora = LoRA(rank=4, alpha=16.0)
    declaration = Finetune(
        Checkpoint(str(base)), lora=lora, epochs=1, batch=4, learning_rate=1e-2, max_tokens=LIMIT, precision="float32"
    )
    (found,) = train(declaration, supervised(base), tmp_path_factory.mktemp("warm"), device="cpu")
    return found


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_embeddings(encoder, pooling):
    made = {"model": Checkpoint(str(encoder)), "pooling": pooling, "stored": "float32"}
    there, here = both(Embed(**made, precision="float32"))
    np.testing.assert_allclose(there, here, atol=1e-4)
    there, here = both(Embed(**made))
    assert cosine(there, here) > 0.999


def test_embeddings_of_a_causal_model(base):
    there, here = both(Embed(model=Checkpoint(str(base)), pooling="last", stored="float32", precision="float32"))
    np.testing.assert_allclose(there, here, atol=1e-4)


def test_a_batch_that_is_tokenized_in_pieces_has_the_values_of_the_cpu(base, encoder):
    rows = batch((PAIRS[:2] * 3 * FEWEST_ROWS)[: 2 * FEWEST_ROWS + 8])
    assert rows.num_rows > 2 * FEWEST_ROWS
    there, here = both(Embed(model=Checkpoint(str(encoder)), stored="float32", precision="float32"), rows)
    np.testing.assert_allclose(there, here, atol=1e-4)
    there, here = both(Loss(model=Checkpoint(str(base)), max_tokens=LIMIT, precision="float32"), rows)
    means = [[value["nll_mean"] for value in values] for values in (there, here)]
    np.testing.assert_allclose(*means, rtol=1e-4, atol=1e-4)


@pytest.mark.cuda
def test_a_process_has_its_share_of_a_gpu():
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(0.25)
    try:
        assert memory.free_bytes(torch.device("cuda", torch.cuda.current_device())) <= total / 4
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(total // 2, dtype=torch.uint8, device=DEVICE)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.cuda
def test_nvidia_s_tool_says_the_memory_that_torch_sees():
    assert torch.cuda.mem_get_info()[1] == pytest.approx(max(gpus_here()), rel=0.05)


@pytest.mark.parametrize("adapted", [False, True])
def test_losses(base, epoch, adapted):
    made = {"model": Checkpoint(str(base)), "adapter": Checkpoint(str(epoch)) if adapted else None, "max_tokens": LIMIT}
    for precision, tolerance in (("float32", 1e-4), ("auto", 5e-2)):
        there, here = both(Loss(**made, precision=precision))
        assert [value["tokens"] for value in there] == [value["tokens"] for value in here]
        for name in FIELDS:
            found, expected = ([value[name] for value in values] for values in (there, here))
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("feature", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["shift", "rademacher"])
def test_projected_gradients(base, epoch, feature, kind):
    made = {"feature": feature, "onto": Projected(kind, dimensions=256, stored="float32"), "max_tokens": LIMIT}
    for precision, least in (("float32", 0.9999), ("auto", 0.9)):
        there, here = both(Gradient(Checkpoint(str(base)), Checkpoint(str(epoch)), **made, precision=precision))
        assert cosine(there, here) > least


def test_cosines_to_targets(base, epoch, tmp_path):
    messages = batch(PAIRS)["messages"].to_pylist()
    subtasks = {"first": messages[:3], "second": messages[3:5], "第三": messages[5:6]}
    plain = Gradient(
        Checkpoint(str(base)), Checkpoint(str(epoch)), feature="sgd", max_tokens=LIMIT, precision="float32"
    )
    there = directions(plain, subtasks, tmp_path / "there.safetensors").tensors(torch.device("cpu"))
    with on_cpu():
        onto = directions(plain, subtasks, tmp_path / "here.safetensors")
    for name, expected in onto.tensors(torch.device("cpu")).items():
        torch.testing.assert_close(there[name], expected, atol=1e-4, rtol=1e-3)
    compared = Gradient(Checkpoint(str(base)), Checkpoint(str(epoch)), onto=onto, max_tokens=LIMIT, precision="float32")
    found, expected = both(compared)
    np.testing.assert_allclose(np.stack(found), np.stack(expected), atol=5e-3)  # directions may be kept in bfloat16


def test_gradient_norms(base):
    there, here = both(GradientNorm(Checkpoint(str(base)), of="linear", max_tokens=LIMIT, precision="float32"))
    for found, expected in zip(there, here, strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


def test_label_scores(base):
    template = "Rate the answer.\nQuestion: {instruction}\nAnswer: {response}\nScore: "
    made = {"model": Checkpoint(str(base)), "template": template, "labels": tuple("123456")}
    for precision, tolerance in (("float32", 1e-4), ("auto", 5e-2)):
        there, here = both(Scorer(**made, precision=precision))
        for found, expected in zip(there, here, strict=True):
            np.testing.assert_allclose(found["scores"], expected["scores"], atol=tolerance)


@pytest.mark.parametrize(("kind", "pair"), [("deberta", "segments"), ("llama", "chat")])
def test_rewards(kind, pair, tmp_path):
    model = Checkpoint(str(tiny_reward(tmp_path, kind)))
    there, here = both(Reward(model=model, pair=pair, max_tokens=256, precision="float32"))
    np.testing.assert_allclose([value["reward"] for value in there], [value["reward"] for value in here], atol=1e-4)


def classified(encoder, folder, device):
    """The folder of a classifier of texts after an epoch, and its batch."""
    from transformers import AutoTokenizer

    labels = Labels("intent", classes=("book", "play"))
    rows = batch(PAIRS[:8])
    records = [json.dumps({"intent": labels.classes[at % 2]}).encode() for at in range(8)]
    rows = rows.set_column(rows.schema.get_field_index("raw"), "raw", pa.array(records, pa.large_binary()))
    labelling = Labelling(AutoTokenizer.from_pretrained(encoder), labels, LIMIT)
    samples = [
        labelling(*row) for row in zip(*(rows[name].to_pylist() for name in ("id", "messages", "raw")), strict=True)
    ]
    declaration = Finetune(
        Checkpoint(str(encoder)), lora=None, labels=labels, epochs=1, batch=4, max_tokens=LIMIT, learning_rate=1e-3,
        precision="float32",
    )  # fmt: skip
    (found,) = train(declaration, samples, folder, device=device)
    return found, rows, labels


def test_a_classifier_s_errors(encoder, tmp_path):
    model, rows, labels = classified(encoder, tmp_path, "cpu")
    there, here = both(ClassError(Checkpoint(str(model)), labels, max_tokens=LIMIT, precision="float32"), rows)
    for found, expected in zip(there, here, strict=True):
        assert found == pytest.approx(expected, abs=1e-4)


def test_a_classifier_s_training(encoder, tmp_path):
    classified(encoder, tmp_path / "there", DEVICE)
    classified(encoder, tmp_path / "here", "cpu")
    assert_near(tmp_path / "there", tmp_path / "here", 1e-4)


def assert_near(folder, other, tolerance):
    """Compares the losses of two runs, and the weights and moments of their first epoch."""
    for found, expected in zip(lines(folder), lines(other), strict=True):
        assert found == pytest.approx(expected, rel=1e-2 if tolerance > 1e-3 else 1e-3)
    found, expected = tensors(folder / "epoch-1"), tensors(other / "epoch-1")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, rtol=1e-2, atol=tolerance, msg=lambda text, key=key: f"{key}: {text}"
        )


# A small epsilon would make Adam's steps of gradients near 0 depend on their last bits.
CALM = {"epochs": 1, "learning_rate": 1e-3, "epsilon": 1e-3}


@pytest.mark.parametrize("lora", [LoRA(rank=2, alpha=8, dropout=0.0), None], ids=["lora", "all weights"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_on_copies(base, tmp_path, lora, precision):
    declaration = declared(base, lora=lora, precision=precision, **CALM)
    train(declaration, supervised(base), tmp_path / "there", device=DEVICE)
    train(declaration, supervised(base), tmp_path / "here", device="cpu")
    assert_near(tmp_path / "there", tmp_path / "here", 1e-4 if precision == "float32" else 5e-3)


@pytest.mark.cuda
def test_training_on_shards_of_one_process(base, tmp_path, monkeypatch):
    declaration = declared(base, lora=None, **CALM)
    train(declaration, supervised(base), tmp_path / "here", device="cpu")
    torch.distributed.init_process_group(init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        monkeypatch.setattr(ranks, "here", lambda layout: ranks.Shards(0, 1))
        train(declaration, supervised(base), tmp_path / "there", device=DEVICE, layout="shards")
    finally:
        torch.distributed.destroy_process_group()
    assert_near(tmp_path / "there", tmp_path / "here", 1e-4)
