"""The models of benchmarks.gpu, with random weights: what an operator costs does not depend on what it says."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from benchmarks._made import llama
from benchmarks._roofline import Roofline, line, seconds
from operators import sample
from operators.base import Arrivals, Compute
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.gradients.gradient import Gradient
from operators.gradients.target_directions import directions
from operators.losses.loss import Loss
from operators.models.causal import causal_model
from operators.models.tokenized import fitting_supervision
from operators.supervision.supervised import Supervised
from operators.training.finetune import Finetune, LoRA

WORDS = ("river", "water", "bank", "the", "of", "a", "and", "its", "河", "水", "light", "small", "stone", "far", "city")
TOGETHER = 8  # samples of a naive batch


@dataclass(frozen=True)
class Sizes:
    """How much each model reads, and the shapes of the models."""

    texts: int
    words: int
    encoder: dict[str, int]
    large_encoder: dict[str, int]
    samples: int
    vocabulary: int
    causal: dict[str, int]
    rank: int
    subtasks: int


def made_batch(rows: int, words: int) -> pa.Table:
    """Samples whose instruction is a third of these words."""
    drawn = random.Random(0)

    def said(count: int) -> str:
        return " ".join(drawn.choices(WORDS, k=max(2, int(count * drawn.uniform(0.6, 1.4)))))

    messages = [
        [{"role": "user", "content": said(words // 3)}, {"role": "assistant", "content": said(words * 2 // 3)}]
        for _ in range(rows)
    ]
    raw = pa.array([b"{}"] * rows, pa.large_binary())
    return pa.table({"id": range(rows), "messages": pa.array(messages, sample.MESSAGES), "raw": raw})


def causal(folder: Path, sizes: Sizes) -> Checkpoint:
    """A Llama of the shape, and a tokenizer with the words, their parts and the digits."""
    texts = [" ".join(WORDS), "Score: 1 2 3 4 5"] * 50
    made = llama(folder, texts, sizes.vocabulary, **sizes.causal)
    settings = made / "tokenizer_config.json"
    chat = "{% for message in messages %}{{ message['role'] }}\n{{ message['content'] }}\n{% endfor %}assistant\n"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": chat}))
    return Checkpoint(str(made))


def encoder(folder: Path, sizes: Sizes) -> Checkpoint:
    """An encoder of MiniLM's kind."""
    from transformers import BertConfig, BertModel

    config = BertConfig.from_dict({"vocab_size": 30_522, "max_position_embeddings": 512, **sizes.encoder})
    return _encoder(folder, BertModel, config)


def large_encoder(folder: Path, sizes: Sizes) -> Checkpoint:
    """An encoder of the kind of Qwen3-Embedding, which is a language model without a head."""
    from transformers import Qwen3Config, Qwen3Model

    shape: dict[str, Any] = {**sizes.large_encoder}
    config = Qwen3Config(vocab_size=sizes.vocabulary, max_position_embeddings=2048, **shape)
    return _encoder(folder, Qwen3Model, config)


def _encoder(folder: Path, kind: Any, config: Any) -> Checkpoint:
    """The model in a folder, beside the tokenizer of a Llama."""
    llama(folder, [" ".join(WORDS)] * 50, 1000, hidden_size=32, intermediate_size=32, num_attention_heads=2)
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    return Checkpoint(str(folder))


def timed(compute: Compute | Arrivals, batch: pa.Table, roofline: Roofline) -> float:
    """The seconds of a loaded operator for a batch, once it is warm."""
    list(compute(batch.slice(0, 2 * TOGETHER)))
    return seconds(lambda: list(compute(batch)), roofline.device)  # an asker's values come one group after another


def weights(model: Any) -> int:
    """The number of weights that multiply every token."""
    linear = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    return sum(module.weight.numel() for module in linear if module is not model.get_output_embeddings())


def embed_line(roofline: Roofline, name: str, checkpoint: Checkpoint, batch: pa.Table) -> dict:
    """Embed against transformers with batches of 32 in the given order, padded, in float32."""
    from transformers import AutoModel, AutoTokenizer

    folder = checkpoint.folder()
    operator = Embed(model=checkpoint, pooling="mean", max_tokens=256)
    ours = timed(operator.load(), batch, roofline)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).to(roofline.device).eval()
    texts = operator.texts(batch)

    @torch.inference_mode()
    def naive() -> None:
        for start in range(0, len(texts), 32):
            found = tokenizer(texts[start : start + 32], padding=True, truncation=True, max_length=256,
                              return_tensors="pt", return_token_type_ids=False).to(roofline.device)  # fmt: skip
            mask = found["attention_mask"][:, :, None]
            ((model(**found).last_hidden_state * mask).sum(1) / mask.sum(1)).cpu()

    tokens = sum(min(256, len(ids)) for ids in tokenizer(texts)["input_ids"])
    layers = model.encoder if hasattr(model, "encoder") else model.layers  # a pooler sees one state per text
    linear = sum(module.weight.numel() for module in layers.modules() if isinstance(module, torch.nn.Linear))
    least = least_seconds(roofline, 2 * linear * tokens)
    slow = seconds(naive, roofline.device)
    return line(roofline, name, len(texts), ours, slow, least, tokens_a_row=round(tokens / len(texts)))


def loss_line(roofline: Roofline, sizes: Sizes, checkpoint: Checkpoint) -> dict:
    """Loss against transformers with all logits, batches of eight in the given order."""
    batch = made_batch(sizes.samples, sizes.words)
    ours = timed(Loss(model=checkpoint).load(), batch, roofline)
    model, rows = _tokenized(checkpoint, batch)

    @torch.inference_mode()
    def naive() -> None:
        for start in range(0, len(rows), TOGETHER):
            ids, labels = (
                torch.nn.utils.rnn.pad_sequence(
                    [torch.tensor(getattr(row, name)) for row in rows[start : start + TOGETHER]], True, filling
                ).to(roofline.device)
                for name, filling in (("input_ids", 0), ("labels", -100))
            )
            logits = model(input_ids=ids).logits[:, :-1].float()
            torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none").sum(1).cpu()

    tokens, supervised = sum(len(row.input_ids) for row in rows), sum(row.count for row in rows)
    head = model.get_output_embeddings().weight.numel()
    least = least_seconds(roofline, 2 * (weights(model) * tokens + head * supervised))
    slow = seconds(naive, roofline.device)
    return line(roofline, "loss", len(rows), ours, slow, least, tokens_a_row=round(tokens / len(rows)))


def less_line(roofline: Roofline, sizes: Sizes, checkpoint: Checkpoint, folder: Path) -> dict:
    """Gradient onto known targets against one backward pass a sample, as LESS's code takes it."""
    from operators.training.loop import train

    batch = made_batch(sizes.samples, sizes.words)
    _, rows = _tokenized(checkpoint, batch)
    lora = LoRA(rank=sizes.rank, alpha=4 * sizes.rank, dropout=0.0)
    warmup = Finetune(checkpoint, lora=lora, epochs=1, batch=4, warmup=0.0, precision="float32")
    epoch = Checkpoint(str(train(warmup, rows[:4], folder / "warmup")[0]))
    targets = batch["messages"].slice(0, 4).to_pylist()
    subtasks = {f"subtask {number}": [targets[number % 4]] for number in range(sizes.subtasks)}
    onto = directions(Gradient(checkpoint, epoch, feature="sgd"), subtasks, folder / "targets.safetensors")
    ours = timed(Gradient(checkpoint, epoch, onto=onto).load(), batch, roofline)
    model = causal_model(checkpoint, epoch, "auto")
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    coordinates = sum(weight.numel() for weight in trained)
    vectors = torch.rand(sizes.subtasks, coordinates, device=roofline.device)
    first, second = torch.rand(2, coordinates, device=roofline.device)

    def naive() -> None:
        for row in rows[:TOGETHER]:
            model.zero_grad()
            ids, labels = (torch.tensor([each], device=roofline.device) for each in (row.input_ids, row.labels))
            model(input_ids=ids, labels=labels).loss.backward()
            gradient = torch.cat([weight.grad.flatten().float() for weight in trained if weight.grad is not None])
            step = (0.9 * first + 0.1 * gradient) / (0.999 * second + 0.001 * gradient**2 + 1e-8).sqrt()
            (vectors @ step).cpu()

    naive()
    slow = seconds(naive, roofline.device) * len(rows) / len(rows[:TOGETHER])
    tokens, count = sum(len(row.input_ids) for row in rows), len(rows)
    least = least_seconds(roofline, 4 * weights(model) * tokens + 2 * sizes.subtasks * coordinates * count)
    return line(roofline, "less", count, ours, slow, least, tokens_a_row=round(tokens / count), rank=sizes.rank,
                subtasks=sizes.subtasks)  # fmt: skip


def _tokenized(checkpoint: Checkpoint, batch: pa.Table) -> tuple[Any, list[Supervised]]:
    """The model where the operators would place it, and the supervised samples."""
    model = causal_model(checkpoint, None, "auto")
    supervision = fitting_supervision(model, checkpoint, "tulu", None)
    return model, [supervision(at, messages) for at, messages in enumerate(batch["messages"].to_pylist())]


def least_seconds(roofline: Roofline, operations: float) -> float:
    """The seconds of a model's products: in bfloat16 on a GPU, in float32 on a CPU."""
    if roofline.device.type == "cuda":
        return roofline.seconds(bfloat16=operations)
    return roofline.seconds(float32=operations)
