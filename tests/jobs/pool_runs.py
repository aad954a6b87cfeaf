"""What the tests of training on pools share: texts, a declaration and a tokenizer."""

from operators.checkpoint import Checkpoint
from operators.training.finetune import Finetune, LoRA

WORDS = ("bread", "goats", "北京", "Écris", "лето", "شمس")
TEXTS = [f"{first} {second} {at}" for at, (first, second) in enumerate((a, b) for a in WORDS for b in WORDS)][:24]


def declared(base, **fields) -> Finetune:
    chosen = {"lora": LoRA(rank=2, alpha=8), "epochs": 2, "batch": 8, "max_tokens": 64, "learning_rate": 1e-2}
    return Finetune(Checkpoint(str(base)), **(chosen | {"precision": "float32"} | fields))


def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
