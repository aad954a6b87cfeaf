"""The number of tokens of a sample, by the tokenizer of a checkpoint.

Text that is unknown to the tokenizer counts as one token per character. One unknown token can stand for a single
character of Chinese or for a whole clause of Thai, which would cost a budget in tokens next to nothing.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute
from operators.checkpoint import Checkpoint
from operators.templated import Templated
from operators.unknown import further_characters


@dataclass(frozen=True, config=STRICT)
class Tokens(Templated):
    """The number of tokens of a text of the sample, without special tokens; one int per row."""

    version: ClassVar[int] = 2

    model: Checkpoint = Checkpoint("sentence-transformers/all-MiniLM-L6-v2")

    def uses_gpus(self) -> bool:
        """Counting needs none."""
        return False

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there."""
        self.model.check()

    def load(self) -> Compute:
        """A function from a batch to the number of tokens of each text.

        ValueError where the tokenizer does not give the positions of its tokens in a text.
        """
        from transformers import AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()  # no warning for a text that is longer than the model's window
        folder = self.model.folder()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if not tokenizer.is_fast:
            raise ValueError(f"{folder} has no tokenizer.json: without it, unknown text cannot be counted")

        def compute(batch):
            texts = self.texts(batch)
            encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
            return [
                len(ids) + further_characters(tokenizer, text, ids) for text, ids in zip(texts, encoded, strict=True)
            ]

        return compute
