"""What the tests share: real games, a real dataset and a real model, each made once a run."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zygote
from random_games import random_game, write_pgn

from chesslm import parallel
from chesslm.boards import MoveCodes
from chesslm.notation import TRAINED

SOAK = bool(os.environ.get("CHESSLM_SOAK"))
"""Whether to do all of what is otherwise a small sample (``make soak``)."""
LONG = [
    "test_terminal", "test_readme", "test_train", "test_compiled", "test_probe", "test_edits", "test_match",
    "test_cluster", "test_cli", "test_pictures", "test_nodes", "test_transfer", "test_reliability", "test_prepare",
    "test_pgn", "test_legality", "test_tokenizer", "test_generate", "test_resume", "test_demo", "test_web",
]  # fmt: skip
"""Files that take 20 s or more, the longest first."""
NOTATIONS = ("uci-move", "uci-square", "san", "pgn-char", "bpe")


class OnDemand(Mapping[str, Path]):
    """Folders by notation, each made by the first process of the run that asks for it."""

    def __init__(self, root: Path, make: Callable[[str, Path], object], names: Iterable[str]) -> None:
        self._root, self._make, self._names = root, make, tuple(names)
        root.mkdir(exist_ok=True)

    def __getitem__(self, name: str) -> Path:
        folder = self._root / name
        with (self._root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                self._make(name, folder)
        return folder

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


Cli = Callable[..., "Ended"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def pytest_configure() -> None:
    """No test reaches for anything but this machine; commands inherit it.

    One thread a process: for models this small a second one wins nothing, and beside another busy process the threads
    wait for each other (the tiny models took 235 s instead of 5).
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not SOAK:
        zygote.install()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: for one that is begun last, all other processes would wait."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some test is always waiting for an engine, a browser or another process."""
    return parallel.cores() + 1


@pytest.fixture(scope="session")
def run_cli() -> Cli:
    """Run ``chesslm ARGUMENTS`` as a process of its own: slow to start, but the real thing."""

    def run(*arguments: str | Path, input: str | bytes | None = None, cwd: Path | None = None) -> Ended:
        data = input.encode() if isinstance(input, str) else input
        command = [sys.executable, "-m", "chesslm", *map(str, arguments)]
        done = subprocess.run(command, input=data, capture_output=True, cwd=cwd, timeout=900, check=False)
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run ``chesslm ARGUMENTS`` in this process: quick, for the many ways of getting it wrong."""
    from chesslm.cli import run

    def call(*arguments: str | Path) -> Ended:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return call


@pytest.fixture(scope="session")
def pool() -> Iterator[parallel.Executor]:
    """This process as a pool of workers."""
    with parallel.pool(1) as pool:
        yield pool


@pytest.fixture(scope="session")
def tiny_games() -> list[MoveCodes]:
    """240 random legal games of up to 60 plies, no two alike."""
    return [random_game(seed, 20 + seed % 41) for seed in range(240)]


@pytest.fixture(scope="session")
def tiny_pgn(tiny_games: list[MoveCodes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny games as a PGN."""
    return write_pgn(tmp_path_factory.mktemp("pgn") / "tiny.pgn", tiny_games)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a run of pytest have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def tiny_datasets(tiny_pgn: Path, shared: Path) -> Mapping[str, Path]:
    """The tiny games prepared, a dataset folder by notation."""
    from chesslm.prepare import prepare

    def make(notation: str, folder: Path) -> None:
        size = 300 if notation in TRAINED else 0
        prepare([str(tiny_pgn)], folder, notation=notation, vocabulary=size, val=0.1, test=0.1, workers=1, quiet=True)

    return OnDemand(shared / "datasets", make, NOTATIONS)


@pytest.fixture(scope="session")
def tiny_dataset(tiny_datasets: Mapping[str, Path]) -> Path:
    """The tiny games prepared in uci-move."""
    return tiny_datasets["uci-move"]


@pytest.fixture(scope="session")
def tiny_models(tiny_datasets: Mapping[str, Path], shared: Path) -> Mapping[str, Path]:
    """A really trained checkpoint folder by notation: 0.2 M parameters, some seconds each."""
    from chesslm.config import ModelConfig, Recipe, TrainConfig
    from chesslm.train import train

    def make(notation: str, folder: Path) -> None:
        recipe = Recipe(
            ModelConfig(layers=2, width=64, heads=2),
            TrainConfig(max_steps=60, batch_tokens=2048, val_every=0, precision="fp32"),
        )
        train(tiny_datasets[notation], folder, recipe, device="cpu", quiet=True)

    return OnDemand(shared / "models", make, tiny_datasets)


@pytest.fixture(scope="session")
def tiny_model(tiny_models: Mapping[str, Path]) -> Path:
    """The tiny checkpoint of uci-move."""
    return tiny_models["uci-move"]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread for torch in this process: models as small as these gain nothing from a second one."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def without(value: Any, *names: str) -> Any:
    """What JSON holds, but for what has these names, such as times."""
    if isinstance(value, dict):
        return {name: without(each, *names) for name, each in value.items() if name not in names}
    return [without(each, *names) for each in value] if isinstance(value, list) else value
