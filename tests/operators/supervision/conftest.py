"""Tokenizers of two kinds."""

import json

import pytest

from tests.tiny import TEXTS, tiny_tokenizer


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
