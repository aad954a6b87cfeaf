"""A tiny scorer."""

import pytest

from operators.models import loading
from tests.tiny import tiny_causal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("scorer"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return loading.fast_tokenizer(folder)
