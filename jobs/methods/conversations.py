"""Pools of conversations that a run makes itself: chains of variants, or the answers of a model."""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from jobs.engine.ingest.dedup import DUPLICATES
from jobs.engine.ingest.parts import PART_ROWS, Shares, fingerprint_share, fingerprints, part_name
from jobs.engine.ingest.row_groups import GROUP_ROWS, sample_writer
from jobs.engine.ingest.tasks import fetched
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Subset
from jobs.engine.samples.pool_folder import is_pool
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder
from jobs.engine.train.whole_model import whole_model
from operators.asking.respond import Respond, upto_last_user
from operators.sample import SAMPLE, Message, text_sha
from operators.scoring.reward import Reward
from operators.training.finetune import Finetune


def rated_answers(asked: Subset, learnt: Subset, trainer: Finetune, tokens: int, reward: Reward) -> Subset:
    """Trains a model on some samples, asks it about others, and returns these with the rewards of its answers.

    asked: the samples to answer. learnt: the samples to train on. tokens: the maximum number of tokens of an answer.
    Returns the samples with a rated answer, with the column `answer_reward`. The answers are stored as a pool, in which
    the model's answer replaces the response of each sample.
    """
    if not len(asked):
        return asked.bind(answer_reward=np.empty(0))
    model = whole_model(trainer, learnt.train(trainer)[-1])
    answered = asked.map(answer=Respond(model=model, max_tokens=tokens))
    column = answered.columns["answer"].stored()
    folder = fetched(_answered.remote(answered.origin.parts, column, answered.ids, answered.session.store.url))
    rated = Pool.open(folder, answered.session).map(reward=reward)
    return answered[answered.ids[rated.ids]].bind(answer_reward=rated.values("reward.reward"))


@ray.remote(num_cpus=1)
def _answered(parts: Parts, feature: Feature, ids: np.ndarray, store: str) -> str:
    responses = iter(feature.values(ids, "response"))
    conversations = [
        [*upto_last_user(messages), Message(role="assistant", content=next(responses))]
        for table in read_samples(parts, ids, ["messages"])
        for messages in table["messages"].to_pylist()
    ]
    return written_pool(conversations, store, "answers")


def written_pool(conversations: Sequence[Sequence[Message]], store: str, kind: str) -> str:
    """Writes conversations as a pool into the store, unless it is there, and returns the folder.

    kind: a word for the conversations, which is part of the folder's name and the source of the samples. pool.json is
    written last, so that a folder with a pool.json is complete.
    """
    shas = [text_sha(conversation) for conversation in conversations]
    share = fingerprint_share(0, shas)
    found = fingerprints(len(conversations), [Shares(share, share)])
    folder = Folder(f"{store}/pools/{kind}-{found['fingerprint'][:16]}")
    if is_pool(folder.url):
        return folder.url
    folder.make()
    parts = [
        {"file": part_name(number), "first": first, "rows": min(PART_ROWS, len(conversations) - first)}
        for number, first in enumerate(range(0, len(conversations), PART_ROWS))
    ]
    for part in parts:
        ids = range(part["first"], part["first"] + part["rows"])
        columns = {
            "id": ids,
            "sha": shas[ids.start : ids.stop],  # the record has nothing besides the conversation
            "text_sha": shas[ids.start : ids.stop],
            "source": [kind] * len(ids),
            "line": [None] * len(ids),
            "messages": conversations[ids.start : ids.stop],
            "raw": [b"{}"] * len(ids),
            "rejected": [None] * len(ids),
            "label": [None] * len(ids),
        }
        with folder.writing(part["file"]) as file, sample_writer(file, SAMPLE) as writer:
            writer.write_table(pa.table(columns, schema=SAMPLE), row_group_size=GROUP_ROWS)
    with folder.writing("duplicates.parquet") as file:
        pq.write_table(DUPLICATES.empty_table(), file)
    with folder.writing("quarantine.jsonl"):
        pass
    facts = {
        "winnow_pool": 1,
        **found,
        "records": len(conversations),
        "samples": len(conversations),
        "duplicates": 0,
        "quarantined": 0,
        "sources": [],
        "examples": {},
        "parts": parts,
    }
    with folder.writing("pool.json") as file:
        file.write(json.dumps(facts, indent=1).encode())
    return folder.url
