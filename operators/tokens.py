"""How many tokens a sample has, by a checkpoint's tokenizer."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute
from operators.checkpoint import Checkpoint
from operators.templated import Templated


@dataclass(frozen=True, config=STRICT)
class Tokens(Templated):
    """The number of tokens of a text of the sample, without special tokens; an int a row."""

    version: ClassVar[int] = 2

    model: Checkpoint = Checkpoint("sentence-transformers/all-MiniLM-L6-v2")

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there."""
        self.model.check()

    def load(self) -> Compute:
        """Counts a batch with the checkpoint's fast tokenizer."""
        from transformers import AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()  # a text longer than the model's window is what we came to count
        tokenizer = AutoTokenizer.from_pretrained(self.model.folder())

        def compute(batch):
            encoded = tokenizer(self.texts(batch), add_special_tokens=False, return_attention_mask=False)
            return [len(ids) for ids in encoded["input_ids"]]

        return compute
