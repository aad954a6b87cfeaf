"""Why one sample was kept or dropped.

winnow explain out/ltd 4711
winnow explain out/ltd data.jsonl:12
"""

import sys
from collections.abc import Sequence

from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, program


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog=program("explain"), description="Say why a sample was kept or dropped.")
    parser.add_argument("folder", help="the output folder of a run, or its URL")
    parser.add_argument("sample", help="the sample's id, or source:line")
    options = parser.parse_args(argv)

    from jobs.engine.command.places import place_of_run
    from jobs.engine.outcome.explanation import explain

    explain(place_of_run(options.folder), options.sample)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
