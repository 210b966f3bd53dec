"""Prose: files to documents, blocks, tokens and rows; and a model trained on them."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from conftest import Cli
from transformers import AutoTokenizer

from chesslm.cli import run
from chesslm.config import TrainConfig
from chesslm.errors import InputError
from chesslm.model import load_model
from chesslm.shards import SPLITS, open_dataset
from chesslm.streams import Source
from chesslm.text import BLOCK_CHARACTERS, prepare_text, read_blocks
from chesslm.text_tokenizer import CONTEXT
from chesslm.tokenizer import BOS, EOS, Role
from chesslm.validation import measure_of

SENTENCE = "the knight saw a house of never and always — “took” the tea, 1.e4 and a naïve rook by the river"
WORDS = SENTENCE.split()


def prose(seed: int, characters: int) -> str:
    """Lines of words, with letters of two and three bytes among them."""
    draw = np.random.default_rng(seed)
    lines: list[str] = []
    while sum(map(len, lines)) < characters:
        lines.append(" ".join(draw.choice(WORDS, int(draw.integers(3, 15)))) + "\n")
    return "".join(lines)


BOOK = prose(1, 700_000)
SMALL = ["--set", "model.layers=1", "--set", "model.width=32", "--set", "model.heads=2", "--set", "train.val_every=0"]
SMALL += ["--set", "train.val_games=4", "--quiet"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book as a dataset."""
    folder = tmp_path_factory.mktemp("prose")
    (folder / "book.txt").write_text(BOOK)
    prepare_text([str(folder / "book.txt")], folder / "data", vocabulary=400, val=0.2, test=0.2, quiet=True)
    return folder / "data"


def test_blocks_are_the_documents_cut_at_lines(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(BOOK)
    blocks = list(read_blocks(Source(str(tmp_path / "book.txt"))))
    assert "".join(block.text for block in blocks) == BOOK
    assert all(0 < len(block.text) <= BLOCK_CHARACTERS and block.text.endswith("\n") for block in blocks)
    assert [block.ends for block in blocks] == [False] * (len(blocks) - 1) + [True]


def test_every_kind_of_file_gives_the_same_text(tmp_path: Path) -> None:
    text = BOOK[:5000]
    line = json.dumps({"text": text, "title": "x"})
    written = {
        "a.txt": text.encode(),
        "b.txt.gz": gzip.compress(text.encode()),
        "c.txt.zst": zstandard.compress(text.encode()),
        "d.jsonl": f"{line}\n\n{line}\n".encode(),
        "e.jsonl.zst": zstandard.compress(line.encode()),
        "f.txt": b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    }
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
        found = [(block.text, block.ends) for block in read_blocks(Source(str(tmp_path / name)))]
        assert found == [(text, True)] * (2 if name == "d.jsonl" else 1), name


def test_rows_are_the_text(dataset: Path) -> None:
    opened = open_dataset(dataset)
    tokenizer = AutoTokenizer.from_pretrained(dataset / "tokenizer")
    seen, ended = 0, 0
    for name in SPLITS:
        split = opened.splits[name]
        for row, size in zip((split[i] for i in range(len(split))), split.table()["bytes"].to_pylist(), strict=True):
            assert len(row) <= CONTEXT
            assert row.ids[0] == BOS
            assert row.role[0] == Role.GAME_BEGINS
            assert not row.role[1:-1].any()
            ended += row.ids[-1] == EOS
            # A row may end inside a letter of several bytes.
            text = tokenizer.decode(row.ids.tolist(), skip_special_tokens=True).strip("\N{REPLACEMENT CHARACTER}")
            assert text in BOOK
            assert abs(len(text.encode()) - size) <= 6
            seen += size
    assert ended == 1
    assert abs(seen - len(BOOK.encode())) <= 3
    assert opened.meta["notation"] == "prose"


def test_the_same_text_twice_is_taken_once(tmp_path: Path, dataset: Path) -> None:
    folder = tmp_path / "corpus"
    (folder / "part").mkdir(parents=True)
    (folder / "book.txt").write_text(BOOK)
    (folder / "part" / "again.txt").write_text(BOOK)
    meta = prepare_text([str(folder)], tmp_path / "data", vocabulary=400, val=0.2, test=0.2, quiet=True)
    assert meta["blocks"]["duplicate"] == meta["blocks"]["kept"]
    assert meta["sha256"] == open_dataset(dataset).sha256


@pytest.fixture(scope="module")
def model(dataset: Path) -> Path:
    """A model of prose, after six steps."""
    out = dataset.parent / "model"
    assert run(["train", "--data", str(dataset), "--out", str(out), "--max-steps", "6", *SMALL]) == 0
    return out


def test_rows_longer_than_the_context_are_measured_as_far_as_it_goes(dataset: Path) -> None:
    """A model that finds all tokens alike likely has as many bits a byte, by how few bytes its tokens have."""
    opened = open_dataset(dataset)
    measure = measure_of(opened, TrainConfig())
    size = len(opened.any_tokenizer)
    whole, cut = (
        measure(lambda ids: torch.zeros(*ids.shape, size), context)["val_bits_per_byte"] for context in (512, 40)
    )
    assert max(opened.splits["val"].lengths) == 512 and cut == pytest.approx(whole, rel=0.1) and cut > 1


def test_a_model_learns_prose(model: Path) -> None:
    about = json.loads((model / "chesslm.json").read_text())
    # Words drawn evenly: even after six steps a byte takes less than eight bits.
    assert 0.5 < about["validation"]["val_bits_per_byte"] < 8
    with pytest.raises(InputError, match="writes prose, not games"):
        load_model(str(model))


def test_chances_are_for_games(tmp_path: Path, dataset: Path, cli: Cli) -> None:
    asked, says = ["--max-steps", "1", "--set", "train.strays=0.5"], "train.strays and train.legality are for games"
    ended = cli("train", "--data", dataset, "--out", tmp_path / "m", *asked)
    assert (ended.code, ended.err.count("\n")) == (2, 1) and says in ended.err
    assert not (tmp_path / "m").exists()


def test_its_tokens_serve_other_prose(tmp_path: Path, dataset: Path, model: Path) -> None:
    book = [str(dataset.parent / "book.txt")]
    again = prepare_text(book, tmp_path / "more", tokenizer_of=str(model), val=0.2, test=0.2, quiet=True)
    assert again["sha256"] == open_dataset(dataset).sha256


def test_its_tokens_serve_games(tmp_path: Path, model: Path, tiny_pgn: Path, cli: Cli) -> None:
    data, out, results = tmp_path / "games", tmp_path / "chess", tmp_path / "results.json"
    options = ["--notation", "text", "--tokenizer", model, "--max-games", "60", "--quiet"]
    assert cli("prepare", tiny_pgn, "--out", data, *options, "--val", "0.1", "--test", "0.1").code == 0
    assert cli("train", "--data", data, "--out", out, "--max-steps", "2", *SMALL).code == 0
    asked = ["--games", data, "--limit", "2", "--plies", "10", "--quiet", "--json", results]
    assert cli("evaluate", out, *asked).code == 0
    # A text model that saw no games is asked for them in the same way.
    assert cli("evaluate", model, "--notation", "text", *asked, "--workers", "1").code == 0
    (found,) = [found for found in json.loads(results.read_text()) if found["model"].get("sha256")]
    assert found["suites"]["legality"]["metrics"]["bits_per_move"]["n"] > 20
    assert found["model"]["notation"] == "text"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.txt"], "no such file"),
        (["empty"], "no files in this folder"),
        (["bad.jsonl"], 'line 2 is no JSON object with a "text"'),
        (["bad.zst"], "not zst data"),
        (["short.txt"], "too little text"),
        (["short.txt", "--min-elo", "1800"], "--min-elo is for games"),
        (["short.txt", "--vocabulary", "100"], "--vocabulary is 320 or more"),
        (["short.txt", "--tokenizer", "empty"], "no tokenizer that can be loaded"),
        (["short.txt", "--val", "0"], "--val and --test are shares"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("bad.jsonl").write_text('{"text": "a"}\n["text"]\n')
    Path("bad.zst").write_text("plain")
    Path("short.txt").write_text("Too short.")
    assert run(["prepare", "--text", *arguments, "--out", "data", "--quiet"]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("data").exists()


def test_what_is_of_games_refuses_prose(dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--games", str(dataset), "--quiet"]) == 2
    assert "holds prose, and this needs games" in capfd.readouterr().err
    out = tmp_path / "out"
    assert run(["train", "--data", str(dataset), "--out", str(out), "--max-steps", "1", "--track", "sinks"]) == 2
    assert capfd.readouterr().err.startswith("chesslm: --track sinks is for games") and not out.exists()
