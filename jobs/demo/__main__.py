"""The demo: makes a corpus, curates it with LTD, and compares the selection with a random choice.

winnow demo
"""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, program
from jobs.engine.terminal.screen import say, show

DRAWS = 50


def measures(records: Sequence[dict[str, str]]) -> dict[str, float]:
    """The numbers that describe a selection, from the labels that the generator wrote into each record."""
    clean = [record for record in records if record["kind"] != "junk"]
    groups = Counter(record["group"] for record in clean)
    return {
        "topics covered": len({record["topic"] for record in clean}),
        "rare topics covered": len({record["topic"] for record in clean if record["kind"] == "rare"}),
        "repeats of a kept sample": len(clean) - len(groups),
        "junk": len(records) - len(clean),
    }


def demo(folder: Path, store: Path) -> None:
    """Makes the corpus, curates it, and prints a comparison with random choices."""
    from jobs import curate
    from jobs.demo.corpus import corpus
    from jobs.engine.command.places import out_folder

    file, out = folder / "corpus.jsonl", folder / "ltd"
    out_folder(str(out), str(store))
    made = corpus()
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in made)
    _make_room(out, file, text)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    kinds = Counter(record["kind"] for record in made)
    say(
        f"made {file}: {len(made):,} samples, among them {kinds['near_duplicate']} near-duplicates, "
        f"{kinds['junk']} junk, {kinds['rare']} on rare topics"
    )
    curate.main(["ltd", str(file), "--out", str(out), "--store", str(store), "budget=10%"])
    kept = [json.loads(line) for line in (out / "selected.jsonl").read_text().splitlines()]
    _compare(made, kept)
    say("LTD keeps samples that are as far apart as possible. So it covers the rare topics and keeps no repeats.")
    say("Junk is far from everything too, so LTD should be combined with a method that judges quality.")
    say(f"\nthe corpus       {file}")
    say(f"the kept records {out}/selected.jsonl")
    say(f"the report       {out}/report.html")
    say(f"about one sample {program('explain')} {out} 17")
    say(f"your own data    {program('curate')} ltd FILE --out FOLDER budget=5%")


def _make_room(out: Path, file: Path, text: str) -> None:
    """Removes an earlier run of the demo. UsageError where anything else is in its place, or in that of its corpus."""
    from jobs.engine.command.taken import manifest_in
    from jobs.engine.store.folder import Folder

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        if file.exists() and file.read_bytes() != text.encode():
            raise UsageError(f"{file} is there already, and not from an earlier demo; give another --out")
        return
    if manifest_in(Folder.at(str(out))).get("run", {}).get("inputs") != [str(file)]:
        raise UsageError(f"{out} holds something else than an earlier demo; give another --out")
    shutil.rmtree(out)


def _compare(made: Sequence[dict[str, str]], kept: Sequence[dict[str, str]]) -> None:
    import numpy as np

    from operators.kernels.sampling import random_order

    draws = [measures([made[i] for i in random_order(len(made), seed)[: len(kept)]]) for seed in range(DRAWS)]
    random = {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}
    everything, ours = measures(made), measures(kept)
    show(
        f"{len(kept)} of {len(made):,} samples kept",
        ["", "in the corpus", f"random (mean of {DRAWS})", "kept by LTD"],
        [[name, f"{everything[name]:g}", f"{random[name]:.1f}", f"{ours[name]:g}"] for name in everything],
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog=program("demo"), description="Make a corpus and curate it with LTD.")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="the folder for corpus and selection")
    parser.add_argument("--store", type=Path, default=Path(".winnow"), help="the folder for features")
    options = parser.parse_args(argv)
    demo(options.out, options.store.absolute())
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
