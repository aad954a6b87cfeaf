"""The commands that docs/clusters.md shows, and what is said of how each is tested."""

import re
from pathlib import Path

CLUSTERS = Path(__file__).resolve().parents[1] / "docs" / "clusters.md"
BLOCK = re.compile(r"(?:<!-- (?P<said>[^>]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL)


def marked(file: Path = CLUSTERS) -> list[tuple[str | None, str, list[str]]]:
    """Of each block: the comment before it, its language, and its commands, those on several lines as one."""
    found = []
    for block in BLOCK.finditer(file.read_text(encoding="utf-8")):
        lines = block["text"].replace("\\\n", " ").splitlines()
        commands = [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]
        found.append((block["said"], block["language"], commands))
    return found


def blocks(said: str) -> list[list[str]]:
    """The commands of the blocks with this comment."""
    return [commands for comment, _, commands in marked() if comment == said]
