"""How a language model takes a sample's response: the loss and the EL2N of its tokens, by one forward pass.

    Loss(Checkpoint("/models/base"), template="alpaca", max_tokens=512)          # one of LoBaSS's two models
    Loss(Checkpoint("/models/base"), adapter=Checkpoint("/runs/warmup/epoch-1"))    # EL2N after an epoch

LoBaSS and DavIR (arXiv 2310.13008) compare the loss under two models; EL2N is the data diets' score (Paul et al. 2021,
arXiv 2107.07075, definition 2.3; by token, over supervised tokens only, after Marion et al. 2023, arXiv 2309.04564,
equation 6). A template and tokenizer that are the same for two models make their numbers those of the same tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator, RowError
from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
from operators.positions import SampleTokens, refuse_too_many
from operators.supervision.supervised import IGNORED, Supervised, Supervision, Template

if TYPE_CHECKING:
    from torch import Tensor

    from operators.kernels.token_stats import TokenStats

Precision = Literal["auto", "float32", "bfloat16"]

FIELDS = ("nll_mean", "nll_sum", "el2n_mean", "el2n_sum", "el2n_fro")
ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True, config=STRICT)
class Loss(Operator):
    """Over a response's tokens: how many, their negative log-likelihood (nats) and their EL2N (0 to the root of 2)."""

    version: ClassVar[int] = 2

    gives: ClassVar[pa.DataType | None] = pa.struct(
        [("tokens", pa.int64()), *((name, pa.float32()) for name in FIELDS), ("truncated", pa.bool_())]
    )

    model: Checkpoint
    adapter: Checkpoint | None = None
    """A LoRA adapter of the model, such as an epoch's folder of a training run."""
    template: Template = "tulu"
    max_tokens: SampleTokens = None
    """A sample's tokens after which it is cut, and its value flagged."""
    precision: Precision = "auto"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere. Losses that are compared want the same."""

    def check(self) -> None:
        """ModelMissing where model or adapter is not there; ValueError for more tokens than positions."""
        self.model.check()
        if self.adapter is not None:
            self.adapter.check()
        refuse_too_many(self.model, self.max_tokens)

    def load(self) -> Compute:
        """A function from a batch to a struct, or a RowError, a row: tokens, FIELDS and whether the sample was cut.

        `el2n_fro` is the root of the sum of squares. The kinds of error are those of `Supervision` and nonfinite.
        On a CPU a value is bitwise the same whatever samples are with it. ValueError for an adapter or a template
        that does not fit the model.
        """
        import torch

        from operators.gradients import taps
        from operators.scoring import windows

        model = causal_model(self.model, self.adapter, self.precision)
        supervision = fitting_supervision(model, self.model, self.template, self.max_tokens)
        head = taps.language_head(model)
        token_stats = _by_tiles if plain(model, head) else _by_logits
        budget = 1 if next(model.parameters()).device.type == "cpu" else windows.PASS_TOKENS

        def compute(batch: pa.Table) -> list[dict[str, Any] | RowError]:
            tokenized = attempts(supervision, batch)
            rows = [row for row in tokenized if isinstance(row, Supervised)]
            values: list[dict[str, Any] | RowError | None] = [None] * len(rows)
            with torch.inference_mode():
                for group in taps.batches([len(row.input_ids) for row in rows], budget):
                    found = _values(model, head, [rows[at] for at in group], token_stats)
                    for at, value in zip(group, found, strict=True):
                        values[at] = value
            return merged(tokenized, values)

        return compute


def _values(model: Any, head: Any, rows: list[Supervised], token_stats: Callable[..., "TokenStats"]) -> list[Any]:
    """The value of each row, computed together."""
    import torch.nn.functional as F

    from operators.gradients import taps
    from operators.kernels.token_stats import sample_stats

    ids, labels = taps.padded(rows, next(model.parameters()).device)
    supervised = F.pad(labels[:, 1:] != IGNORED, (0, 1))
    stats = token_stats(model, head, ids, supervised, labels.roll(-1, 1)[supervised])
    found = sample_stats(stats, supervised.nonzero()[:, 0], len(rows))
    columns = {name: getattr(found, name).tolist() for name in ("tokens", *FIELDS)}
    values = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    finite = found.nll_sum.isfinite().tolist()
    return [
        value | {"truncated": row.truncated} if usable else RowError("nonfinite", "the loss is NaN or infinite")
        for value, row, usable in zip(values, rows, finite, strict=True)
    ]


def _by_tiles(model: Any, head: Any, ids: "Tensor", supervised: "Tensor", targets: "Tensor") -> "TokenStats":
    """From the hidden states that the head would get, of which it gets none: no table of logits is made."""
    from operators.kernels.token_stats import token_stats

    with caught(head) as states:
        model(input_ids=ids, use_cache=False)
    return token_stats(states[0][supervised], head.weight, targets, head.bias)


def _by_logits(model: Any, head: Any, ids: "Tensor", supervised: "Tensor", targets: "Tensor") -> "TokenStats":
    """From the model's own logits of the supervised positions, for a model that caps or scales them."""
    import torch.nn.functional as F

    from operators.gradients import taps
    from operators.kernels.token_stats import TokenStats, el2n

    with taps.hidden_at(head, supervised):
        logits = model(input_ids=ids, use_cache=False).logits[0].float()
    return TokenStats(F.cross_entropy(logits, targets, reduction="none"), el2n(logits, targets))


@contextmanager
def caught(head: Any) -> Iterator[list["Tensor"]]:
    """While it lasts, the head computes nothing, and what it was given is in the list."""
    states: list[Tensor] = []

    def catch(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        states.append(given[0])
        return (given[0][:, :0], *given[1:])

    handle = head.register_forward_pre_hook(catch)
    try:
        yield states
    finally:
        handle.remove()


def plain(model: Any, head: Any) -> bool:
    """Whether the model's logits are the product of hidden states and a matrix, neither capped nor scaled after it."""
    import torch
    from torch import nn

    products: list[Tensor] = []
    handle = head.register_forward_hook(lambda _, given, output: products.append(output))
    try:
        with torch.inference_mode():
            ids = torch.zeros(1, 4, dtype=torch.long, device=next(model.parameters()).device)
            logits = model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    return type(head) is nn.Linear and torch.equal(products[0], logits)


def causal_model(checkpoint: Checkpoint, adapter: Checkpoint | None, precision: Precision) -> Any:
    """The causal language model, with a LoRA adapter or without, in eval mode; no parameter requires a gradient.

    An adapter's own weights are float32. ModelMissing where one is not there; ValueError where the adapter is not one
    of this model: it says which linear layers the model has.
    """
    from transformers import AutoModelForCausalLM

    from operators.scoring import windows

    model = windows.loaded_model(checkpoint.folder(), AutoModelForCausalLM, precision).requires_grad_(False)
    if adapter is None:
        return model
    from peft import PeftModel
    from safetensors import safe_open
    from torch import nn

    folder = adapter.folder()
    if not (folder / ADAPTER).is_file():
        raise ModelMissing(f"adapter {adapter.name}: {folder} has no {ADAPTER}")
    names = sorted({name.rsplit(".", 1)[-1] for name, layer in model.named_modules() if isinstance(layer, nn.Linear)})
    refusal = f"the adapter in {folder} is not one of {checkpoint.name}, whose linear layers are {', '.join(names)}"
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
    except (ValueError, RuntimeError) as error:  # modules that are not there, weights of another shape
        raise ValueError(f"{refusal}: {error}") from error
    with safe_open(folder / ADAPTER, "pt") as file:
        stored = len(file.keys())
    taken = sum(".default" in name for name, _ in adapted.named_parameters())
    if taken != stored:
        raise ValueError(f"{refusal}: it has {stored} weights where the model takes {taken}")
    return adapted.requires_grad_(False).eval()


def fitting_supervision(model: Any, checkpoint: Checkpoint, template: Template, wanted: int | None) -> Supervision:
    """How samples become tokens, by the checkpoint's tokenizer; ValueError for more tokens than it has positions."""
    from transformers import AutoTokenizer

    from operators.scoring import windows

    tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder(), local_files_only=True)
    return Supervision(tokenizer, template, windows.sample_tokens(model, wanted))


def attempts(supervision: Supervision, batch: pa.Table) -> list[Supervised | RowError]:
    """The tokens of each sample of the batch, or why it has none."""

    def attempt(sample: int, messages: list[Any]) -> Supervised | RowError:
        try:
            return supervision(sample, messages)
        except RowError as error:
            return error

    return [attempt(*each) for each in zip(*(batch[name].to_pylist() for name in ("id", "messages")), strict=True)]


def merged(tokenized: Sequence[Supervised | RowError], values: Sequence[Any]) -> list[Any]:
    """One value a sample: the next of the values where it has tokens, else its error."""
    following = iter(values)
    return [row if isinstance(row, RowError) else next(following) for row in tokenized]
