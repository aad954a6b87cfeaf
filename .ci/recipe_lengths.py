"""Whether recipes are short: a file 120 lines, `select` 40, unless a line `# Longer: <reason>` in the file says why."""

import ast
import sys
from pathlib import Path

FILE, SELECT = 120, 40
REASON = "# Longer: "


def complaints(path: Path) -> list[str]:
    """What is too long in a recipe's file; nothing where the file gives a reason."""
    text = path.read_text(encoding="utf-8")
    if any(line.startswith(REASON) and line.removeprefix(REASON).strip() for line in text.splitlines()):
        return []
    lengths = [("the file", len(text.splitlines()), FILE)]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == "select":
            lengths.append(("select", (node.end_lineno or 0) - node.lineno + 1, SELECT))
    return [
        f"{path}: {what} has {lines} lines, {most} at most; shorten it, or write `{REASON}<reason>` in the file"
        for what, lines, most in lengths
        if lines > most
    ]


if __name__ == "__main__":
    found = [each for path in sorted(Path("jobs/recipes").glob("[!_]*.py")) for each in complaints(path)]
    sys.exit("\n".join(found) or 0)
