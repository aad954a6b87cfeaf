"""Small models for every method, made in seconds. All weights are random, except those of the base, which is trained.

    models(folder, texts)     base, reward, complexity, quality, encoder, unieval: folders with safetensors weights

They have the architecture of the large models and no knowledge. Their scores are arbitrary functions of the text, so a
method that depends on a good judge, scorer or reward model is shown here without one.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks._made import llama

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
VOCABULARY = 2000
LAYERS = 2
SIZE = f"a Llama of {LAYERS} layers, {SHAPE['hidden_size']} dimensions and {VOCABULARY:,} tokens"
SCORER = {"template": "{instruction}\nScore:\n", "labels": ["1", "2", "3", "4", "5", "6"]}
RATED = "Score: 1 Score: 2 Score: 3 Score: 4 Score: 5 Score: 6 Yes No " * 50


def models(folder: Path, texts: Iterable[str]) -> dict[str, Path]:
    """The folder of each model by its name; texts: those that the tokenizers are trained on. Made once."""
    names = ("start", "reward", "complexity", "quality", "encoder", "unieval")
    found = {name: folder / name for name in names}
    if all((path / "model.safetensors").exists() for path in found.values()):
        return found
    texts = [*texts, RATED]
    llama(found["start"], texts, VOCABULARY, layers=LAYERS, **SHAPE)
    for seed, name in enumerate(("complexity", "quality"), start=1):
        llama(found[name], texts, VOCABULARY, seed, layers=LAYERS, **SHAPE)
        (found[name] / "scorer.json").write_text(json.dumps(SCORER))
    _headed(found["start"], found["reward"])
    _encoder(found["start"], found["encoder"])
    _unieval(found["start"], found["unieval"])
    return found


def _tokenizer(source: Path, folder: Path, begin: bool) -> Any:
    """The tokenizer of `source`, whose texts end with </s>, and begin with <s> or not."""
    from tokenizers import processors
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    made = AutoTokenizer.from_pretrained(source).backend_tokenizer
    single, special = ("<s> $A </s>", [("<s>", 1), ("</s>", 2)]) if begin else ("$A </s>", [("</s>", 2)])
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    tokens = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **tokens).save_pretrained(folder)
    return made


def _headed(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    torch.manual_seed(3)
    shape = {"vocab_size": VOCABULARY, "num_hidden_layers": LAYERS, "pad_token_id": 0, "num_labels": 1, **SHAPE}
    LlamaForSequenceClassification(LlamaConfig.from_dict(shape)).save_pretrained(folder)


def _encoder(source: Path, folder: Path) -> None:
    import torch
    from transformers import RobertaConfig, RobertaModel

    _tokenizer(source, folder, begin=True)
    torch.manual_seed(4)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "max_position_embeddings": 258}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "type_vocab_size": 1}
    sizes = {"vocab_size": VOCABULARY, "num_hidden_layers": LAYERS, **shape, **ends}
    RobertaModel(RobertaConfig.from_dict(sizes)).save_pretrained(folder)


def _unieval(source: Path, folder: Path) -> None:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    _tokenizer(source, folder, begin=False)
    torch.manual_seed(5)
    shape = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": LAYERS, "num_heads": 4}
    ends = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    config = T5Config.from_dict({"vocab_size": VOCABULARY, **shape, **ends})
    T5ForConditionalGeneration(config).save_pretrained(folder)
