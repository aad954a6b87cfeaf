"""What the tests of training begin with."""

import pytest

from operators.supervision.supervised import Supervision
from tests.tiny import TEXTS, tiny_causal


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def samples(base):
    from transformers import AutoTokenizer

    supervision = Supervision(AutoTokenizer.from_pretrained(base), "tulu", 64)
    pairs = [(asked[:30], answered[:20]) for asked in TEXTS for answered in TEXTS[:3]]
    return [
        supervision(100 + at, [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}])
        for at, (asked, answered) in enumerate(pairs[:18])
    ]
