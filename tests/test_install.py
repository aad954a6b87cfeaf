"""Installation: what the index has, what a wheel holds, and which Python make takes."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PLATFORMS = {"linux": "x86_64-manylinux_2_31", "macos": "aarch64-apple-darwin"}
EXTRAS = ("", "demo", "demo cpu test dev", "gpu")
CASES = [
    *[(python, "linux", extras) for python in ("3.11", "3.12") for extras in EXTRAS],
    *[("3.12", "macos", extras) for extras in EXTRAS[:2]],
    *[("3.13", "linux", extras) for extras in (*EXTRAS[2:], "cloud")],
]


def resolved(*words: str, stdin: str = "") -> subprocess.CompletedProcess:
    """What uv makes of a question to the index alone, without the folders of wheels that a machine may have."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed")
    kept = {name: value for name, value in os.environ.items() if name not in ("UV_FIND_LINKS", "PIP_FIND_LINKS")}
    return subprocess.run(
        [uv, "pip", "compile", *words, "--quiet", "--only-binary", ":all:", "--output-file", os.devnull],
        env=kept | {"UV_PYTHON_DOWNLOADS": "never", "MACOSX_DEPLOYMENT_TARGET": "14.0"},
        **{"cwd": ROOT, "input": stdin, "capture_output": True, "text": True, "timeout": 250},
    )


@pytest.fixture(scope="module")
def resolutions():
    """Of each case, what the resolver says; all are asked at the same time."""
    probe = resolved("-", stdin="six")
    if probe.returncode:
        pytest.skip(f"no package index: {probe.stderr.strip()[:300]}")

    def of(case: tuple[str, str, str]) -> subprocess.CompletedProcess:
        python, platform, extras = case
        words = ["pyproject.toml", "--constraint", CONSTRAINTS.name, "--python-version", python]
        words += ["--python-platform", PLATFORMS[platform]]
        return resolved(*words, *(word for extra in extras.split() for word in ("--extra", extra)))

    with ThreadPoolExecutor(4) as threads:
        return dict(zip(CASES, threads.map(of, CASES), strict=True))


@pytest.mark.parametrize("case", CASES, ids=[f"{p}-{s}-{e.replace(' ', '+') or 'base'}" for p, s, e in CASES])
def test_the_index_alone_has_wheels_for(resolutions, case):
    assert resolutions[case].returncode == 0, resolutions[case].stderr[:3000]


def test_constraints_are_versions_and_name_no_address():
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^:/]+)?", line)] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder that the project's wheel unpacks to."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for folder in ("jobs", "operators", "cluster"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, built], cwd=source, check=True, capture_output=True)
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(built / "site")
    return built / "site"


def test_a_wheel_holds_every_file_of_the_packages(wheel):
    def held(root: Path) -> set[str]:
        files = [path for folder in ("jobs", "operators", "cluster") for path in (root / folder).rglob("*.*")]
        left_out = (".pyc", ".sh", ".dockerignore")  # the images are built, and Slurm jobs are sent, from a checkout
        return {str(path.relative_to(root)) for path in files if path.suffix not in left_out}

    assert held(wheel) == held(ROOT)


def test_an_installed_wheel_finds_profiles_prompts_and_commands(wheel, tmp_path):
    program = (
        "import jobs; from jobs.engine.execute.profile import profile;"
        "from jobs.engine.terminal.modules import commands;"
        "from operators.asking.prompt import Prompt; from jobs.demo.corpus import corpus;"
        "Prompt('alpagasus').template(); corpus(600);"
        "print(jobs.__file__, profile('gpu').default.gpus, 'curate' in commands())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        **{"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(wheel)}, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{wheel}/jobs/__init__.py 1.0 True")
    names = (next(wheel.glob("winnow-*.dist-info")) / "entry_points.txt").read_text()
    assert "winnow = jobs.__main__:main" in names


def fake_python(folder: Path, name: str, version: tuple[int, int]) -> None:
    """A Python in the folder that says it has this version."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    program = f"import sys; sys.version_info = {(*version, 0)}; exec(sys.argv[2])"
    file.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}" "$@"\n')
    file.chmod(0o755)


def made(tmp_path: Path, *words: str) -> tuple[int, str, str]:
    """What a dry run of make does on a new machine whose PATH is tmp_path/bin."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, tmp_path)
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        [make, "--dry-run", "demo", *words],
        **{"cwd": tmp_path, "env": {"PATH": str(tmp_path / "bin")}, "capture_output": True, "text": True},
    )
    return done.returncode, done.stdout, done.stderr


def test_make_takes_the_first_python_that_is_supported(tmp_path):
    fake_python(tmp_path / "bin", "python3", (3, 10))
    fake_python(tmp_path / "bin", "python3.12", (3, 12))
    fake_python(tmp_path / "bin", "python3.13", (3, 13))
    (tmp_path / "bin" / "python3.11").write_text("#!/bin/sh\nexit 127\n")  # a shim without a Python behind it
    (tmp_path / "bin" / "python3.11").chmod(0o755)
    code, done, _ = made(tmp_path)
    assert code == 0
    assert done.startswith("python3.12 -m venv .venv\n")


def test_make_takes_the_python_that_it_is_given(tmp_path):
    fake_python(tmp_path / "bin", "python3.11", (3, 11))
    fake_python(tmp_path / "other", "python", (3, 13))
    assert made(tmp_path, f"PYTHON={tmp_path}/other/python")[1].startswith(f"{tmp_path}/other/python -m venv")


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_make_says_in_one_line_what_to_do_without_a_supported_python(tmp_path, version):
    fake_python(tmp_path / "bin", "python3", version)
    code, done, said = made(tmp_path)
    assert (code, done) == (2, "")
    assert said.count("\n") == 1
    assert "Winnow needs Python 3.11, 3.12 or 3.13" in said
    assert "none was found: install one" in said
    assert "make demo PYTHON=/path/to/python3" in said


@pytest.mark.parametrize("named", ["python3", "nowhere/python3"])
def test_make_refuses_a_python_that_is_not_supported_by_its_name(tmp_path, named):
    fake_python(tmp_path / "bin", "python3", (3, 10))
    fake_python(tmp_path / "bin", "python3.11", (3, 11))
    code, _, said = made(tmp_path, f"PYTHON={named}")
    assert code == 2
    assert said.count("\n") == 1
    assert f"{named} is not that" in said
