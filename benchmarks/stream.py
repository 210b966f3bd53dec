"""Millions of games through ``chesslm prepare`` as a stream: whether memory stays flat and speed constant.

    python benchmarks/stream.py [--games 5000000] [--workers 2] [--every 1000000]

The bundled games again and again, each time with another way of moving knights out and back in front, so that all games
differ and none is stored: five million are 4 GB of PGN. The stream is made here and goes to the standard input of the
command. Memory is the resident set of the command and its workers together, with their share of mapped files apart.
"""

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chesslm.streams import Source

BUNDLED = Path(__file__).parents[1] / "games" / "bundle-engine.pgn.zst"
KNIGHTS = {
    "white": ("Nf3 {} Ng1", "Nh3 {} Ng1", "Nc3 {} Nb1", "Na3 {} Nb1"),
    "black": ("Nf6 Ng8", "Nh6 Ng8", "Nc6 Nb8", "Na6 Nb8"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--games", type=int, default=5_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=1_000_000, help="games between two lines of the table")
    options = parser.parse_args()
    table = Table(title=f"chesslm prepare, {options.workers} workers, a stream of {options.games:,} games")
    for column in ("games", "GB of PGN", "games a second since the last line", "MiB held", "of which mapped files"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "chesslm", "prepare", "-", "--out", str(Path(folder) / "data"), "--quiet"]
        command += ["--workers", str(options.workers)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.stdin
            size, began, most = 0, time.perf_counter(), (0, 0)
            for number, game in enumerate(itertools.islice(games(), options.games), 1):
                process.stdin.write(game)
                size += len(game)
                if number % 20_000 == 0:
                    most = max(most, held(process.pid))
                if number % options.every == 0:
                    now = time.perf_counter()
                    rate, (memory, mapped) = options.every / (now - began), most
                    table.add_row(f"{number:,}", f"{size / 1e9:.2f}", f"{rate:,.0f}", f"{memory:,}", f"{mapped:,}")
                    print(f"{number:,} games, {rate:,.0f} a second, {memory:,} MiB", file=sys.stderr)
                    began, most = now, (0, 0)
            process.stdin.close()
        if process.wait():
            sys.exit("prepare failed")
    Console(width=120).print(table)


def games() -> Iterator[bytes]:
    """Games without end, no two alike."""
    whole = b"".join(Source(str(BUNDLED)).chunks())
    bundled = [re.split(rb"\n\n", game, maxsplit=1) for game in re.split(rb"\n\n(?=\[)", whole.strip())]
    for length in itertools.count(1):
        for ways in itertools.product(*itertools.repeat(tuple(there_and_back()), length)):
            front = " ".join(ways).encode()
            for tags, moves in bundled:
                yield tags + b"\n\n" + front + b" " + moves + b"\n\n"


def there_and_back() -> Iterator[str]:
    """Four plies after which the pieces stand as they stood."""
    for white, black in itertools.product(KNIGHTS["white"], KNIGHTS["black"]):
        out, home = black.split()
        yield f"{white.format(out)} {home}"


def held(pid: int) -> tuple[int, int]:
    """Resident memory of a process and its children in MiB, and the part of it that is mapped files."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    total = mapped = 0
    for each in (pid, *children):
        said = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path(f"/proc/{each}/status").read_text(), re.MULTILINE))
        total += int(said["VmRSS"])
        mapped += int(said["RssFile"]) + int(said["RssShmem"])
    return total // 1024, mapped // 1024


if __name__ == "__main__":
    main()
