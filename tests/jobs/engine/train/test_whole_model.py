"""An adapter merged into its base."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from jobs.engine.train.whole_model import _merge
from operators.checkpoint import Checkpoint
from operators.models.causal import causal_model
from operators.training.finetune import Finetune, LoRA
from operators.training.model import untrained_model
from tests.tiny import tiny_causal


def test_an_adapter_of_a_head_that_is_the_embeddings_too_changes_the_head_only(tmp_path):
    folder, epoch, whole = tmp_path / "base", tmp_path / "epoch-1", tmp_path / "whole"
    tied = AutoConfig.from_pretrained(tiny_causal(folder), tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(tied).save_pretrained(folder)
    trainer = Finetune(Checkpoint(str(folder)), lora=LoRA(rank=2, modules=("q_proj", "lm_head")))
    adapted = untrained_model(trainer)
    for name, weight in adapted.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(epoch, save_embedding_layers=False)
    _merge(trainer, epoch, whole)
    ids = torch.arange(3, 13)[None]
    with torch.inference_mode():
        expected = causal_model(trainer.base, Checkpoint(str(epoch)), "float32")(input_ids=ids).logits
        found = causal_model(Checkpoint(str(whole)), None, "float32")(input_ids=ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
