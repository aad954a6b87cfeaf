"""Commands as a user types them."""

import pytest

from jobs import curate
from jobs.engine.terminal.program import exit_code


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory):
    """A store for all tests that do not ask what is computed: samples they share are embedded once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, shared_store):
    """Runs a command in a working directory of its own: run("ltd", file, ...) -> (exit code, what it printed)."""
    monkeypatch.chdir(tmp_path)

    def ran(*words, command=curate, store=shared_store):
        words = [*words, "--store", store] if command is curate else list(words)
        code = exit_code(lambda: command.main([str(word) for word in words]))
        return code, capsys.readouterr().out

    return ran
