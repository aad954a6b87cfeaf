"""How many tokens a sample has, by a checkpoint's tokenizer."""

from typing import Annotated

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from operators import sample
from operators.base import STRICT, Compute, Operator
from operators.checkpoint import Checkpoint


@dataclass(frozen=True, config=STRICT)
class Tokens(Operator):
    """The number of tokens of a text of the sample, without special tokens; an int a row."""

    model: Checkpoint = Checkpoint("sentence-transformers/all-MiniLM-L6-v2")
    text: Annotated[str, AfterValidator(sample.checked_template)] = "{conversation}"

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
            texts = [sample.text(self.text, messages) for messages in batch["messages"].to_pylist()]
            encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)
            return [len(ids) for ids in encoded["input_ids"]]

        return compute
