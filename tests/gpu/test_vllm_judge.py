"""The judge on CUDA, by vLLM, against its model on the CPU. It comes last, as vLLM keeps its memory."""

import numpy as np
import pytest
import torch

from operators.asking.judge import expectation
from operators.asking.local_model import control_strings, prompt_text
from tests.batches import batch
from tests.operators.asking.asked import values
from tests.raters import answer, length_judge

SHARE = 0.2  # of the GPU, which keeps to its share and leaves the rest to the other tests


@pytest.mark.cuda
def test_a_judge_expects_of_its_model_s_probabilities_what_the_cpu_does(tmp_path):
    pytest.importorskip("vllm")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    judge = length_judge(tmp_path / "judge")
    draw = np.random.default_rng(3)
    rows = batch([(f"Say it {at}", answer(1 + at % 12, draw)) for at in range(600)])
    torch.cuda.set_per_process_memory_fraction(SHARE)
    try:
        found = values(judge, rows)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    tokenizer = AutoTokenizer.from_pretrained(judge.model.folder())
    model = AutoModelForCausalLM.from_pretrained(judge.model.folder(), dtype=torch.float32).eval()
    tokens = [tokenizer.encode(label, add_special_tokens=False)[0] for label in judge.labels()]
    for row, value in zip(rows.to_pylist(), found, strict=True):
        question = judge.question(row)
        text = prompt_text(tokenizer, question.render(question.texts, control_strings(tokenizer)))
        with torch.inference_mode():
            logits = model(torch.tensor([tokenizer.encode(text, add_special_tokens=False)])).logits[0, -1]
        masses = dict(zip(judge.labels(), logits.softmax(0)[tokens].tolist(), strict=True))
        assert value["score"] == pytest.approx(expectation(masses).score, abs=0.1)
        assert value["digit_mass"] == pytest.approx(sum(masses.values()), abs=0.05)
