"""A judge made in seconds: a Llama of two layers that has learned to rate an answer by how long it is."""

from pathlib import Path

import numpy as np

from operators.asking.judge import Judge
from operators.asking.local_model import control_strings, prompt_text
from operators.asking.prompt import Prompt
from operators.checkpoint import Checkpoint
from tests.tiny import tiny_tokenizer

WORDS = ["red", "blue", "green", "seven", "nine", "river", "stone", "红色", "мост", "голос"]
LONGEST = 12
RUBRIC = "[user]\nRate by length.\n{mark}\n{instruction}\n{response}\nRating:"


def answer(words: int, draw: np.random.Generator) -> str:
    """An answer of so many words."""
    return " ".join(draw.choice(WORDS, words))


def rating(response: str) -> int:
    """The rule: 0 to 5, one more for each 2 words."""
    return min(5, len(response.split()) * 6 // (LONGEST + 1))


def length_judge(folder: Path, steps: int = 240, seed: int = 0) -> Judge:
    """The trained judge; its checkpoint and its prompt are in the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rubric = folder / "rubric.txt"
    rubric.write_text(RUBRIC)
    tokenizer = tiny_tokenizer(folder, [answer(LONGEST, draw) for _ in range(200)] + [RUBRIC] * 50)
    judge = Judge(
        model=Checkpoint(str(folder)), prompt=Prompt(str(rubric)), form="expectation", lowest=0, highest=5, context=512
    )
    controls = control_strings(tokenizer)
    digits = [tokenizer.encode(label, add_special_tokens=False)[0] for label in judge.labels()]
    torch.manual_seed(seed)
    # vLLM's attention on CPUs wants heads of 32 dimensions or more.
    shape = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 64}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), num_hidden_layers=2, max_position_embeddings=512, **shape)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        answers = [answer(int(draw.integers(1, LONGEST + 1)), draw) for _ in range(16)]
        prompts = [_prompt(judge, tokenizer, controls, f"Say {draw.choice(WORDS)}", each) for each in answers]
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(each)) + each for each in prompts])
        seen = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in prompts])
        logits = model(input_ids=ids, attention_mask=seen, logits_to_keep=1).logits[:, -1]
        wanted = torch.tensor([digits[rating(each)] for each in answers])
        loss = torch.nn.functional.cross_entropy(logits, wanted)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return judge


def _prompt(judge: Judge, tokenizer, controls: list[str], instruction: str, response: str) -> list[int]:
    messages = [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}]
    question = judge.question({"messages": messages, "raw": b""})
    return tokenizer.encode(prompt_text(tokenizer, question.render(question.texts, controls)), add_special_tokens=False)
