"""Does the judge in Ray Data keep up with vLLM alone, and what does the prefix cache save?

python -m benchmarks.judge [--rows 2500] [--repeats 2]

Both sides rate the same prompts with the same model on this machine, in turns. `bare` is one LLM.generate per batch in
this process, on prompts that are written already. `operator` is the whole map, from samples to committed parts, by one
worker. The first batch of each is a warm-up and does not count. The model is tiny and random, so that the cost outside
the engine weighs as much as possible; any real model hides it. Prints one JSON line.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks._made import llama, say_beside
from benchmarks._run import options, printed
from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.session import Session, connect
from jobs.engine.execute.stream import stream
from jobs.engine.pool.pool import Pool
from jobs.engine.samples.runs import Runs
from jobs.engine.store.store import Store
from operators.asking.judge import Judge
from operators.asking.local_model import LocalModel, label_tokens, prompt_text
from operators.asking.vllm_engine import sampling
from operators.checkpoint import Checkpoint

BATCH = 500
CONTEXT = 2048


def model(folder: Path) -> Path:
    """A random Llama with heads large enough for vLLM's CPU attention, and a tokenizer trained on the rubric."""
    rubric = Path(__file__).parents[1] / "operators" / "prompts" / "alpagasus.txt"
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 4}
    return llama(folder, [rubric.read_text()] * 10, vocabulary=2000, max_position_embeddings=CONTEXT, **shape)


def corpus(file: Path, rows: int) -> list[dict]:
    """Alpaca records of 30 to 60 words."""
    words = ["what", "is", "the", "rating", "of", "a", "response", "that", "says", "how", "rivers", "run", "to", "the"]
    made = [
        {"instruction": f"Task {i}: " + " ".join(words[i % 7 :]), "input": "", "output": " ".join(words * (1 + i % 3))}
        for i in range(rows)
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in made))
    return made


def main() -> None:
    chosen = options(__doc__, rows=5 * BATCH, repeats=2).parse_args()

    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        judge = Judge(model=Checkpoint(str(model(here / "model"))), form="expectation", lowest=1, context=CONTEXT)
        records = corpus(here / "in.jsonl", chosen.rows)
        profile = Profile(default=Execution(rows=BATCH, workers=1))
        say_beside()
        # Two engines share the machine; left to itself on CPUs, vLLM takes nearly all of its memory for one.
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        connect(profile)
        local = LocalModel(here / "model", CONTEXT)
        wanted = sampling(judge.manner(), label_tokens(local.tokenizer, judge.labels()))
        prompts = [_prompt(judge, local, record) for record in records]
        rates: dict[str, list[float]] = {"bare": [], "operator": []}
        computed = total = 0
        for repeat in range(chosen.repeats):
            ends = []
            local.engine.llm.reset_prefix_cache()
            for at in range(0, len(prompts), BATCH):
                replies = local.engine.llm.generate(prompts[at : at + BATCH], wanted, use_tqdm=False)
                ends.append(time.perf_counter())
                total += sum(len(each.prompt_token_ids) for each in replies)
                computed += sum(len(each.prompt_token_ids) - (each.num_cached_tokens or 0) for each in replies)
            rates["bare"].append((len(prompts) - BATCH) / (ends[-1] - ends[0]))
            session = Session(Store(str(here / f"store{repeat}")), profile)
            pool = Pool.of([str(here / "in.jsonl")], session)
            feature = session.store.feature(judge, pool.origin.identity(judge.belongs_to()))
            # `map` would merge the parts, and their time stamps tell when each batch was done.
            stream(judge, "judge", feature, pool.parts, Runs.of(pool.ids), len(pool), session)
            stamps = sorted(Path(part).stat().st_mtime for part in feature.parts())
            rates["operator"].append((len(prompts) - BATCH) / (stamps[-1] - stamps[0]))
    medians = {side: statistics.median(found) for side, found in rates.items()}
    printed(
        {
            "benchmark": "judge",
            "rows": chosen.rows,
            "rows_a_second": {side: round(rate, 1) for side, rate in medians.items()},
            "ratio": round(medians["operator"] / medians["bare"], 3),
            "prompt_tokens": {"without_cache": total, "with_cache": computed, "share": round(computed / total, 3)},
        }
    )


def _prompt(judge: Judge, local: LocalModel, record: dict) -> str:
    messages = [
        {"role": "user", "content": record["instruction"]},
        {"role": "assistant", "content": record["output"]},
    ]
    question = judge.question({"messages": messages, "raw": b""})
    return prompt_text(local.tokenizer, question.render(question.texts, local.controls))


if __name__ == "__main__":
    main()
