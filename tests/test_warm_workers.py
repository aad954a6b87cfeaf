"""The workers of Ray that the tests use: forks with the libraries, and without our own modules."""

import os
import sys

import pytest
import ray


def seen() -> tuple[set[str], str, str]:
    """The packages that this process has imported, what it was asked for by its environment, and a random id."""
    return {name.partition(".")[0] for name in sys.modules}, os.environ["ASKED"], ray.ObjectRef.from_random().hex()


@pytest.mark.usefixtures("ray_session")
def test_a_new_worker_has_the_libraries_none_of_our_modules_and_its_own_environment(request):
    if request.config.getoption("--cold-workers"):
        pytest.skip("the workers start from nothing")
    ids = set()
    for asked in ("one", "two"):  # another environment is another process
        new = ray.remote(seen).options(num_cpus=0, runtime_env={"env_vars": {"ASKED": asked}})
        packages, found, random = ray.get(new.remote())
        ids.add(random)
        assert found == asked
        assert packages > {"peft", "torch", "transformers"}
        assert not packages & {"jobs", "operators"}
    assert len(ids) == 2
