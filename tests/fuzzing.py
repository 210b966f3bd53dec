"""How the fuzzers are run: by libFuzzer through atheris, guided by the coverage of the package.

``make fuzz`` runs each for some minutes; ``python tests/fuzz_pgn.py FILE`` tries an input again, without atheris.
Whatever was of use stays in ``.fuzz/NAME`` and is where the next run begins; an input that crashes, takes long or fills
the memory is kept as ``.fuzz/crash-...``, ``timeout-...`` or ``oom-...``.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".fuzz"
LIMITS = ("-max_len=8192", "-timeout=30", "-rss_limit_mb=2048", "-print_final_stats=1")


def instrumented() -> AbstractContextManager[object]:
    """Imports inside of it count the coverage of the package; without atheris they are ordinary ones."""
    try:
        atheris = import_module("atheris")
    except ImportError:
        return nullcontext()
    return atheris.instrument_imports(include=["chesslm"])


def run(name: str, one: Callable[[bytes], None], seeds: Iterable[bytes], words: Iterable[str]) -> None:
    """Fuzz until libFuzzer's options, which are those of the command line, say that it is enough.

    Args:
        name: of the folder with what was of use.
        one: tries an input, and raises where something is wrong.
        seeds: inputs to begin with.
        words: parts that inputs may be made of.
    """
    if again := [Path(each) for each in sys.argv[1:] if Path(each).is_file()]:
        for path in again:
            one(path.read_bytes())
        return
    # Not by name: it is in an environment of its own, and the type checker knows an older one.
    atheris = import_module("atheris")
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    dictionary = FOLDER / f"{name}.dict"
    entries = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in words)
    dictionary.write_text("".join(f'"{entry}"\n' for entry in entries))
    options = [*LIMITS, f"-artifact_prefix={FOLDER}/", f"-dict={dictionary}", *sys.argv[1:]]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()
