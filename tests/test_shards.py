"""Token shards: what is written comes back, and what is not whole is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from random_games import result_of, tokenizer_of

from chesslm.boards import MoveCodes
from chesslm.errors import InputError
from chesslm.notation import NAMES
from chesslm.shards import SPLITS, Dataset, ShardWriter, open_dataset, write_meta
from chesslm.tokenizer import TokenizedGame


def write(
    folder: Path, games: dict[str, list[TokenizedGame]], shard_tokens: int, notation: str = "uci-move"
) -> Dataset:
    folder.mkdir(exist_ok=True)
    writers = []
    for split in SPLITS:
        writer = ShardWriter(folder, split, shard_tokens)
        for number, game in enumerate(games.get(split, [])):
            writer.add(game.ids, game.role, {"plies": int(game.ply.max()), "number": number})
        writer.flush()
        writers.append(writer)
    write_meta(folder, writers, {"notation": notation})
    return open_dataset(folder)


def tokenized(notation: str, codes: list[MoveCodes]) -> list[TokenizedGame]:
    tokenizer = tokenizer_of(notation)
    return [tokenizer.encode(moves, result_of(index)) for index, moves in enumerate(codes)]


@pytest.fixture
def dataset(tiny_games: list[MoveCodes], tmp_path: Path) -> Dataset:
    return write(tmp_path / "data", {"train": tokenized("uci-move", tiny_games[:50])}, shard_tokens=500)


@pytest.mark.parametrize("notation", NAMES)
@pytest.mark.parametrize("shard_tokens", [1, 500, 10**6])
def test_games_come_back_as_they_were(tiny_games: list[MoveCodes], tmp_path: Path, notation: str, shard_tokens: int):
    games = tokenized(notation, tiny_games)
    written = {"train": games[:40], "val": games[40:43], "test": games[43:44]}
    dataset = write(tmp_path / "data", written, shard_tokens, notation)
    assert dataset.notation == notation
    for name, expected in written.items():
        split = dataset.splits[name]
        assert len(split) == len(expected)
        assert split.lengths.tolist() == [len(game) for game in expected]
        for number, game in enumerate(expected):
            read = split[number]
            assert np.array_equal(read.ids, game.ids) and read.ids.dtype == np.uint16
            assert np.array_equal(read.role, game.role)
            assert np.array_equal(read.ply, game.ply)
            assert np.array_equal(split.game_ids(number), game.ids)
        assert split.table().column("number").to_pylist() == list(range(len(expected)))
        counts = dataset.meta["splits"][name]
        assert (counts["games"], counts["tokens"]) == (len(expected), sum(map(len, expected)))
    # A shard is closed at its size: one a game where any game is larger than that, one in all where none is.
    shards = dataset.meta["splits"]["train"]["shards"]
    assert shards == {1: 40, 10**6: 1}.get(shard_tokens, shards) and (shard_tokens != 500 or 1 < shards < 40)


def test_games_outside_a_split_are_an_index_error(dataset: Dataset):
    split = dataset.splits["train"]
    for game in (-1, len(split)):
        with pytest.raises(IndexError):
            split[game]
    # So that a split is a sequence: iteration ends by itself.
    assert len(list(split)) == len(split) == 50  # pyright: ignore[reportArgumentType]


def test_shards_are_mapped_and_not_read(dataset: Dataset):
    assert all(isinstance(ids, np.memmap) for ids in dataset.splits["train"].ids)


def test_a_split_without_games_is_empty(dataset: Dataset):
    assert len(dataset.splits["val"]) == 0
    assert dataset.splits["val"].lengths.tolist() == []


def test_the_hash_is_that_of_the_games(tiny_games: list[MoveCodes], tmp_path: Path, dataset: Dataset):
    games = tokenized("uci-move", tiny_games[:50])
    again = write(tmp_path / "again", {"train": games}, shard_tokens=500)
    other = write(tmp_path / "other", {"train": games[:-1]}, shard_tokens=500)
    assert again.sha256 == dataset.sha256 != other.sha256


@pytest.mark.parametrize("kind", ["ids.npy", "roles.npy", "offsets.npy", "games.parquet"])
def test_a_file_cut_short_is_named(dataset: Dataset, kind: str):
    path = dataset.folder / f"train-00001.{kind}"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"train-00001\.{kind}: \d+ bytes long instead of \d+; run chesslm prepare"):
        open_dataset(dataset.folder)
    path.unlink()
    with pytest.raises(InputError, match=rf"train-00001\.{kind}: missing; run chesslm prepare"):
        open_dataset(dataset.folder)


def test_a_folder_without_meta_is_no_dataset(dataset: Dataset):
    (dataset.folder / "meta.json").unlink()
    with pytest.raises(InputError, match=r"no meta\.json, so no finished dataset"):
        open_dataset(dataset.folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema": 0}', '{"schema": 1}', b"\xff\xfe"])
def test_a_broken_meta_is_refused(dataset: Dataset, content: str | bytes):
    (dataset.folder / "meta.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"meta\.json: not .*run chesslm prepare again"):
        open_dataset(dataset.folder)


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        open_dataset(tmp_path / "nowhere")


def test_meta_lists_every_file(dataset: Dataset):
    meta = json.loads((dataset.folder / "meta.json").read_text())
    on_disk = {path.name for path in dataset.folder.iterdir()} - {"meta.json"}
    assert set(meta["files"]) == on_disk
