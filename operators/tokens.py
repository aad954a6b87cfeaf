"""How many tokens a sample has, by a checkpoint's tokenizer.

What the tokenizer does not know counts a token a character. Its one unknown token would stand for a character of
Chinese, but for a whole clause of Thai, so that a budget in tokens would pay next to nothing for it.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute
from operators.checkpoint import Checkpoint
from operators.templated import Templated
from operators.unknown import further_characters


@dataclass(frozen=True, config=STRICT)
class Tokens(Templated):
    """The number of tokens of a text of the sample, without special tokens; an int a row."""

    version: ClassVar[int] = 2

    model: Checkpoint = Checkpoint("sentence-transformers/all-MiniLM-L6-v2")

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there."""
        self.model.check()

    def load(self) -> Compute:
        """Counts a batch with the checkpoint's tokenizer; ValueError where it cannot say what a token stands for."""
        from transformers import AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()  # a text longer than the model's window is what we came to count
        folder = self.model.folder()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if not tokenizer.is_fast:
            raise ValueError(f"{folder} has no tokenizer.json: without it what it does not know cannot be counted")

        def compute(batch):
            texts = self.texts(batch)
            encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
            return [
                len(ids) + further_characters(tokenizer, text, ids) for text, ids in zip(texts, encoded, strict=True)
            ]

        return compute
