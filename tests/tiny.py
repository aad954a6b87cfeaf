"""Tiny language models, made in a second: a tokenizer trained on the spot and seeded random weights.

They compute as their large kin do and say nothing sensible. Every folder is a checkpoint with safetensors weights.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

TEXTS = (
    "Name three primary colors. Red, yellow and blue.",
    "请把下面的句子翻译成英文：他做事总是画蛇添足。",
    "Écris une lettre polie à ton voisin. Cher voisin, il est tard.",
    "Краткое изложение причин, по которым империя пришла в упадок.",
    "اشرح الفرق بين الطقس والمناخ. 気候変動について説明してください。",
    "def double(values):\n    return [2 * value for value in values]",
    "Score: 1 Score: 2 Score: 3 Score: 4 Score: 5 Score: 6 " * 20,
)

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def tiny_tokenizer(
    folder: Path, texts: Iterable[str] = TEXTS, digits: Literal["alone", "joined"] = "alone", vocabulary: int = 600
) -> Any:
    """A byte-level tokenizer trained on the texts and saved; a text begins with <s>, a second segment follows </s>.

    digits: "alone" makes every digit a token, as Llama's and Qwen's tokenizers do; "joined" makes " 4" one, as
    GPT-2's does.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alone = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytewise])
    made.pre_tokenizer = alone if digits == "alone" else bytewise
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=CHAT
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def tiny_causal(
    folder: Path,
    texts: Iterable[str] = TEXTS,
    digits: Literal["alone", "joined"] = "alone",
    positions: int = 256,
    seed: int = 0,
    head: int = 8,
) -> Path:
    """The folder, with a Llama of two layers that continues texts; head: dimensions of one, of which vLLM wants 32."""
    from transformers import LlamaForCausalLM

    tokenizer = tiny_tokenizer(folder, texts, digits)
    return _saved(folder, LlamaForCausalLM, _llama(len(tokenizer), positions, head), seed)


def tiny_encoder(folder: Path, texts: Iterable[str] = TEXTS, positions: int = 66, seed: int = 0) -> Path:
    """The folder, with a RoBERTa of two layers, 64 wide, without a head, whose first token is a classifier's."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel

    made = tiny_tokenizer(folder, texts).backend_tokenizer
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    special = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **special)
    tokenizer.save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=positions,
        type_vocab_size=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _saved(folder, RobertaModel, config, seed, std=0.05)  # with which it learns faster


def tiny_reward(
    folder: Path, kind: Literal["deberta", "llama"] = "deberta", labels: int = 1, positions: int = 256, seed: int = 0
) -> Path:
    """The folder, with a sequence classifier: a DeBERTa-v3 (relative positions alone), or a Llama."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification, LlamaForSequenceClassification

    tokenizer = tiny_tokenizer(folder)
    if kind == "llama":
        config = _llama(len(tokenizer), positions)
        config.num_labels = labels
        return _saved(folder, LlamaForSequenceClassification, config, seed)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": positions,
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pad_token_id": tokenizer.pad_token_id,
        "num_labels": labels,
    }
    config = DebertaV2Config.from_dict(shape)
    return _saved(folder, DebertaV2ForSequenceClassification, config, seed)


def tiny_unieval(folder: Path, seed: int = 0) -> Path:
    """The folder, with a T5 of two layers that answers yes or no; a text ends with </s>, as T5's do."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    made = tiny_tokenizer(folder, [*TEXTS, "Yes No " * 20]).backend_tokenizer
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    return _saved(folder, T5ForConditionalGeneration, config, seed)


def _llama(vocabulary: int, positions: int, head: int = 8) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=4 * head,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _saved(folder: Path, kind: Any, config: Any, seed: int, std: float = 0.2) -> Path:
    """The folder, with a model whose weights are large enough for texts to differ by far more than rounding."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
        for name, weight in model.named_parameters():
            if "norm" not in name.lower():
                torch.nn.init.normal_(weight, std=std)
    model.save_pretrained(folder)
    return folder
