"""The data of the benchmarks: records of a file or of the demo, and a random language model."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.demo.corpus import corpus
from jobs.engine.store.feature import Feature
from jobs.engine.terminal.screen import CONSOLE

DEMO_SAMPLES = 3200


def say_beside() -> None:
    """Sends the engine's messages to standard error, so that a benchmark prints nothing but its line."""
    CONSOLE.stderr = True


def records(data: Path | None) -> list[dict[str, Any]]:
    """The records of a file, which is a JSON array or JSON lines; None: those of the demo's corpus."""
    if data is None:
        return list(corpus(DEMO_SAMPLES))
    written = data.read_text(encoding="utf-8")
    if written.lstrip().startswith("["):
        return json.loads(written)
    return [json.loads(line) for line in written.split("\n") if line.strip()]


def llama(folder: Path, texts: Iterable[str], vocabulary: int, seed: int = 0, layers: int = 2, **shape: Any) -> Path:
    """Writes a Llama with random weights, and a byte-level tokenizer of the texts; returns the folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, num_hidden_layers=layers, pad_token_id=0, bos_token_id=1, eos_token_id=2, **shape
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_vectors(feature: Feature, first: int, rows: np.ndarray) -> None:
    """Writes (n, d) vectors in half precision as a part of a column, with the ids from `first`."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float16).reshape(-1)), rows.shape[1])
    feature.write(np.arange(first, first + len(rows)), pa.nulls(len(rows), pa.string()), values, [None] * len(rows))
