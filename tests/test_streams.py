"""Streams of PGN from anywhere, and how they are cut into chunks of whole games."""

import bz2
import gzip
import io
import os
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import chess.pgn
import fsspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_games import lively_game, odd_pgn

from chesslm.errors import InputError
from chesslm.streams import Source, split_games

GAME = b'[Event "x"]\n[Result "1-0"]\n\n1. e4 e5 {a comment} 2. Nf3 1-0\n\n'
ODD = odd_pgn(1, [lively_game(seed, 5 + seed % 30) for seed in range(120)]).encode()


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def games_in(data: bytes) -> list[str]:
    """The games that chess.pgn finds, each as the text that it covers, without the blank lines around."""
    handle, starts = io.StringIO(data.decode("latin-1")), [0]
    while chess.pgn.skip_game(handle):
        starts.append(handle.tell())
    text = handle.getvalue()
    return [text[start:end].strip() for start, end in pairwise(starts)]


def spoilt(data: bytes) -> bytes:
    """Compressed data with some bytes in the middle changed."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x55 for byte in data[middle : middle + 8]) + data[middle + 8 :]


@given(st.integers(1, 3000), st.integers(1, 20000))
@settings(max_examples=60, deadline=None)
def test_chunks_are_the_text_cut_between_games(block: int, chunk: int) -> None:
    chunks = list(split_games(blocks(ODD, block), chunk_bytes=chunk))
    assert b"".join(chunks) == ODD
    assert [game for part in chunks for game in games_in(part)] == games_in(ODD)


def test_chunks_are_about_as_long_as_asked_for() -> None:
    chunks = list(split_games(blocks(GAME * 1000, 100), chunk_bytes=1000))
    assert b"".join(chunks) == GAME * 1000
    assert all(1000 - len(GAME) <= len(chunk) < 1100 for chunk in chunks[:-1])


def test_games_without_tags_are_cut_too() -> None:
    data = b"1. e4 e5 1-0\n\n1. d4 d5 *\n\n" * 500
    chunks = list(split_games(blocks(data, 64), chunk_bytes=256, game_bytes=2048))
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) < 5000
    assert [game for part in chunks for game in games_in(part)] == games_in(data)


def test_a_brace_in_a_tag_holds_nothing_up() -> None:
    data = b'[Event "{"]\n\n1. e4 *\n\n' + b'[Event "y"]\n\n1. d4 *\n\n' * 500
    chunks = list(split_games(blocks(data, 64), chunk_bytes=256, game_bytes=2048))
    assert max(map(len, chunks)) < 5000
    assert [game for part in chunks for game in games_in(part)] == games_in(data)


def test_an_open_comment_or_no_pgn_at_all_is_not_held_in_memory() -> None:
    game = b'[Event "y"]\n\n1. d4 *\n\n'
    for data in (b'[Event "x"]\n\n1. e4 {never closed\n\n' + game * 5000, b"{ prose " * 20000, b"\n" * 200000):
        chunks = list(split_games(blocks(data, 100), chunk_bytes=256, game_bytes=2048))
        assert b"".join(chunks) == data
        assert max(map(len, chunks)) < 10000


COMPRESSED = {
    "x.pgn": lambda data: data,
    "x.pgn.gz": gzip.compress,
    "x.pgn.bz2": bz2.compress,
    "x.pgn.zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_files_are_read_whatever_their_frames(tmp_path: Path, name: str) -> None:
    compress = COMPRESSED[name]
    path = tmp_path / name
    path.write_bytes(compress(GAME * 500) + compress(GAME) + compress(GAME * 300))
    source = Source(str(path))
    assert b"".join(source.chunks()) == GAME * 801
    assert not source.truncated
    assert source.about() == Source(str(path)).about() | {"name": name, "bytes": path.stat().st_size}


@pytest.mark.parametrize("name", list(COMPRESSED)[1:])
def test_content_counts_where_the_name_says_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / "games"
    path.write_bytes(COMPRESSED[name](GAME * 50))
    assert b"".join(Source(str(path)).chunks()) == GAME * 50


@pytest.mark.parametrize("name", list(COMPRESSED)[1:])
@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_cut_stream_gives_what_there_is_and_says_so(tmp_path: Path, name: str, cut: int) -> None:
    path = tmp_path / name
    # Incompressible enough for some of it to come out before the cut.
    path.write_bytes(COMPRESSED[name](ODD)[:-cut])
    source = Source(str(path))
    read = b"".join(source.chunks())
    assert ODD.startswith(read)
    assert source.truncated


def test_frames_that_hold_no_data_are_passed_over(tmp_path: Path) -> None:
    """As in files that can be read from the middle, or were padded."""
    frame = zstandard.ZstdCompressor().compress(GAME)
    skippable = b"\x5e\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"seek"
    for data in (frame + skippable, skippable + frame, frame + skippable + frame, frame + bytes(512)):
        path = tmp_path / "x.pgn.zst"
        path.write_bytes(data)
        source = Source(str(path))
        assert b"".join(source.chunks()) == GAME * data.count(frame)
        assert not source.truncated


def test_newlines_and_marks_are_as_in_text_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.pgn"
    for data in (GAME * 900, GAME):
        for newline in (b"\r\n", b"\r"):
            path.write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", newline))
            assert b"".join(Source(str(path)).chunks()) == data


def test_urls_are_read_through_fsspec(tmp_path: Path) -> None:
    with fsspec.open("memory://folder/games.pgn.gz", "wb") as file:
        file.write(gzip.compress(GAME, mtime=0))  # pyright: ignore[reportAttributeAccessIssue]
    source = Source("memory://folder/games.pgn.gz")
    assert b"".join(source.chunks()) == GAME
    assert source.name == "games.pgn.gz"
    (tmp_path / "x.pgn").write_bytes(GAME)
    assert b"".join(Source(f"file://{tmp_path}/x.pgn").chunks()) == GAME


def test_a_pipe_with_a_name_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "games.pgn"
    os.mkfifo(pipe)
    source = Source(str(pipe))
    with subprocess.Popen(["bash", "-c", f"yes '{GAME.decode()}' > {pipe}"], stderr=subprocess.DEVNULL) as writer:
        chunks = source.chunks()
        assert next(chunks).startswith(GAME)
        chunks.close()
        assert source.about() == {"name": "games.pgn", "bytes": None, "sha256": None}
        writer.kill()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.pgn", b"", "empty"),
        ("x.pgn", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary data, not text"),
        ("x.pgn", '[Event "x"]'.encode("utf-16"), "UTF-16"),
        ("x.pgn.zst", GAME, "not zst data"),
        ("x.pgn.gz", GAME, "not gz data"),
        ("x.PGN.BZ2", gzip.compress(GAME, mtime=0), "not bz2 data"),
        ("x.pgn.zst", spoilt(zstandard.ZstdCompressor(write_checksum=True).compress(ODD)), "corrupt"),
        ("x.pgn.gz", spoilt(gzip.compress(ODD, mtime=0)), "corrupt"),
        ("x.pgn.bz2", spoilt(bz2.compress(ODD)), "corrupt"),
        ("x.pgn.zst", zstandard.ZstdCompressor().compress(GAME) + b"rubbish", "corrupt"),
        ("x.tar.gz", gzip.compress(b"games.pgn".ljust(512, b"\0"), mtime=0), "unpack"),
    ],
)
def test_what_is_no_pgn_is_refused_in_one_sentence(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as raised:
        list(Source(str(path)).chunks())
    assert str(raised.value).startswith(str(path))


def test_missing_files_folders_and_unknown_protocols_are_refused(tmp_path: Path) -> None:
    for where, message in (
        (str(tmp_path / "none.pgn"), "no such file"),
        (str(tmp_path), "directory"),
        ("memory://none.pgn", "no such file"),
        ("http://127.0.0.1:9/x.pgn", "cannot be reached"),
        ("nosuch://x.pgn", "cannot be opened"),
    ):
        with pytest.raises(InputError, match=message):
            list(Source(where).chunks())
