"""Games to tokens: the one alignment, and tokenizer files that plain transformers reads alike."""

import json
import random
from pathlib import Path

import chess
import numpy as np
import pytest
from hypothesis import given, settings
from random_games import games, notation_of, tokenizer_of

from chesslm.boards import MoveCodes, to_codes, to_moves
from chesslm.conditions import Headers
from chesslm.errors import InputError
from chesslm.notation import NAMES
from chesslm.san import write_moves
from chesslm.tokenizer import (
    BOS,
    EOS,
    KNOWN_RESULTS,
    PAD,
    SPECIALS,
    UNK,
    GameTokenizer,
    Role,
    get_tokenizer,
)
from chesslm.tokenizer_files import load_tokenizer, save_tokenizer

notations = pytest.mark.parametrize("name", NAMES)

# A pawn becomes a knight (ply 17), and a rook steps to the last rank as a pawn would (the ply before the last).
ODD_GAME = (
    "e2e4 d7d5 e4d5 c7c6 d5c6 d8d2 e1d2 b8c6 d2e1 a7a5 b2b4 a5b4 a2a3 b4a3 c1b2 a3b2 d1d2 b2a1n "
    "e1e2 a8a3 e2e1 a3b3 e1e2 b3b2 e2e1 b2b1 e1e2"
)


def moves_of(ucis: str) -> list[chess.Move]:
    board = chess.Board()
    for uci in ucis.split():
        board.push(board.parse_uci(uci))
    return board.move_stack


def test_special_tokens_come_first_in_every_vocabulary():
    for name in NAMES:
        tokenizer = tokenizer_of(name)
        assert tokenizer.tokens[:4] == ("<pad>", "<bos>", "<eos>", "<unk>") == SPECIALS
        assert len(set(tokenizer.tokens)) == len(tokenizer.tokens) == len(tokenizer)
        assert [tokenizer.ids[token] for token in tokenizer.tokens] == list(range(len(tokenizer)))
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)


def test_a_game_in_uci_move_by_hand():
    tokenizer = get_tokenizer("uci-move")
    game = tokenizer.encode(to_codes(moves_of("e2e4 e7e5 g1f3")), "1-0")
    assert [tokenizer.tokens[i] for i in game.ids] == ["<bos>", "e2e4", "e7e5", "g1f3", "<eos>"]
    assert game.ply.tolist() == [-1, 0, 1, 2, 3]
    move = Role.MOVE_BEGINS | Role.MOVE_ENDS
    assert game.role.tolist() == [Role.GAME_BEGINS, move, move, move, Role.GAME_ENDS]


def test_a_game_in_uci_square_by_hand():
    tokenizer = get_tokenizer("uci-square")
    game = tokenizer.encode(to_codes(moves_of(ODD_GAME)[:18]), "*")
    assert [tokenizer.tokens[i] for i in game.ids[-5:]] == ["d1", "d2", "b2", "a1", "n"]
    assert game.ply[-5:].tolist() == [16, 16, 17, 17, 17]
    begins, ends = Role.MOVE_BEGINS, Role.MOVE_ENDS
    assert game.role[-5:].tolist() == [begins, ends, begins, 0, ends]
    assert game.role[0] == Role.GAME_BEGINS and game.ply[0] == -1


@notations
@given(game=games())
@settings(max_examples=30, deadline=None)
def test_ids_plies_and_roles_say_the_same_game(name: str, game: list[chess.Move]):
    tokenizer, sans = tokenizer_of(name), write_moves(to_codes(game))
    for result in (*KNOWN_RESULTS, "*", "", "?"):
        tokenized = tokenizer.encode(to_codes(game), result)
        assert len(tokenized) == len(tokenized.ids) == len(tokenized.ply) == len(tokenized.role)
        assert (tokenized.ids.dtype, tokenized.ply.dtype, tokenized.role.dtype) == (np.uint16, np.int16, np.uint8)
        known = result in ("1-0", "0-1", "1/2-1/2")
        assert (EOS in tokenized.ids) == known
        if known:
            assert (tokenized.ids[-1], tokenized.ply[-1], tokenized.role[-1]) == (EOS, len(game), Role.GAME_ENDS)
        for ply, move in enumerate(game):
            own = tokenized.ply == ply
            lead = len(tokenizer.lead(ply))
            roles, tokens = tokenized.role[own], tuple(tokenizer.tokens[i] for i in tokenized.ids[own])
            word = sans[ply] if tokenizer.notation.reads_board else move.uci()
            assert tokenizer.notation.join(tokens[lead:]) == word
            assert (roles[:lead] == Role.ORNAMENT).all() and not (roles[lead:] & Role.ORNAMENT).any()
            assert np.flatnonzero(roles & Role.MOVE_BEGINS).tolist() == [lead]
            assert np.flatnonzero(roles & Role.MOVE_ENDS).tolist() == [len(roles) - 1]


@notations
@given(game=games())
@settings(max_examples=30, deadline=None)
def test_moves_come_back_from_tokens(name: str, game: list[chess.Move]):
    tokenizer = tokenizer_of(name)
    assert tokenizer.decode_moves(tokenizer.encode(to_codes(game), "1-0").ids) == game


@notations
def test_a_rook_on_the_last_rank_is_no_promotion(name: str):
    tokenizer = tokenizer_of(name)
    game = moves_of(ODD_GAME)
    assert tokenizer.decode_moves(tokenizer.encode(to_codes(game)).ids) == game


def test_tokens_that_spell_no_move_are_named():
    tokenizer = get_tokenizer("uci-square")
    ids = [BOS, *(tokenizer.ids[token] for token in ("e2", "e4", "q", "e7"))]
    with pytest.raises(InputError, match="'q' at ply 1 is no move in uci-square"):
        tokenizer.decode_moves(ids)
    with pytest.raises(InputError, match="'e2' at ply 0"):
        tokenizer.decode_moves(ids[:2])


@pytest.mark.parametrize("name", NAMES)
def test_plain_transformers_tokenises_text_alike(name: str, tiny_games: list[MoveCodes], tmp_path: Path):
    from transformers import AutoTokenizer

    tokenizer = tokenizer_of(name)
    save_tokenizer(tokenizer, tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert len(plain) == len(tokenizer)
    assert (plain.pad_token_id, plain.bos_token_id, plain.eos_token_id, plain.unk_token_id) == (PAD, BOS, EOS, UNK)
    for codes in [*tiny_games[:100], to_codes(moves_of(ODD_GAME))]:
        expected = tokenizer.encode(codes).ids.tolist()
        moves = to_moves(codes)
        if tokenizer.notation.reads_board:
            numbered = len(tokenizer.lead(0)) > 0
            gap = " " if name == "pgn-char-spaced" else ""
            numbers = [f"{ply // 2 + 1}.{gap}" if numbered and ply % 2 == 0 else "" for ply in range(len(moves))]
            text = "".join(f"{number}{san} " for number, san in zip(numbers, write_moves(codes), strict=True))
            assert plain(text)["input_ids"] == expected
            assert plain.decode(expected, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")
            continue
        ucis = [move.uci() for move in moves]
        assert plain(" ".join(ucis))["input_ids"] == expected
        assert plain("".join(ucis))["input_ids"] == expected
        assert plain("\n".join(ucis) + "\n")["input_ids"] == expected
    assert UNK in plain("e2i9")["input_ids"]
    # What transformers 4 reads: the class that both versions know.
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


@pytest.mark.parametrize("name", ["uci-move", "uci-square"])
def test_text_without_spaces_is_read_in_one_way_only(name: str, tmp_path: Path):
    """Any two moves in a row, written together: a piece to the last rank before a b-file move is no promotion."""
    from tokenizers import Tokenizer

    tokenizer = tokenizer_of(name)
    save_tokenizer(tokenizer, tmp_path)
    text = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    moves = get_tokenizer("uci-move").notation.vocabulary
    draw = random.Random(1)
    pairs = [(draw.choice(moves), draw.choice(moves)) for _ in range(2000)]
    pairs += [(first, "b8c6") for first in moves]
    for pair in pairs:
        ids = [BOS]
        for uci in pair:
            ids += tokenizer.spell(chess.Move.from_uci(uci), chess.Board())
        assert text.encode("".join(pair)).ids == ids, pair


@notations
def test_a_tokenizer_comes_back_from_its_file(name: str, tiny_games: list[MoveCodes], tmp_path: Path):
    for kinds in ((), ("elo", "time")):
        tokenizer = GameTokenizer(notation_of(name), kinds)
        save_tokenizer(tokenizer, tmp_path)
        again = load_tokenizer(tmp_path, name)
        assert (again.tokens, again.conditions, again.notation.merges) == (
            tokenizer.tokens,
            kinds,
            tokenizer.notation.merges,
        )
        headers = Headers(1950, None, "1-0", "300+3")
        for codes in tiny_games[:20]:
            assert (
                again.encode(codes, "1-0", headers).ids.tolist() == tokenizer.encode(codes, "1-0", headers).ids.tolist()
            )


def test_a_tokenizer_of_another_notation_is_refused(tmp_path: Path):
    for own in NAMES:
        save_tokenizer(tokenizer_of(own), tmp_path)
        for other in NAMES:
            if own == other or {own, other} == {"pgn-char", "pgn-char-spaced"}:
                continue
            with pytest.raises(InputError, match=f"not those of {other}"):
                load_tokenizer(tmp_path, other)


def test_a_missing_or_broken_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path, "uci-move")
    for broken in (
        b'{"version": "1.0"',
        b"{}",
        b"[]",
        b'{"model": {"vocab": 3}}',
        b"\xff",
        b'{"model": {"vocab": {"a": "b"}}}',
    ):
        (tmp_path / "tokenizer.json").write_bytes(broken)
        with pytest.raises(InputError, match=r"not a readable tokenizer|are not those"):
            load_tokenizer(tmp_path, "uci-move")


def test_conditions_and_hints_stand_where_they_should():
    tokenizer = get_tokenizer("uci-square", ("elo", "result"))
    game = to_codes(moves_of("e2e4 e7e5 g1f3 b8c6 f1b5 g8f6 e1g1"))
    encoded = tokenizer.encode(game, "0-1", Headers(2431, None, "0-1", "60+0"), hints=True)
    names = [tokenizer.tokens[i] for i in encoded.ids]
    assert names[:7] == ["<bos>", "<white 2400>", "<black ?>", "<result 0-1>", "P", "e2", "e4"]
    assert names[-4:] == ["K", "e1", "g1", "<eos>"]
    assert encoded.ply[:10].tolist() == [-1, -1, -1, -1, 0, 0, 0, 1, 1, 1]
    assert encoded.role[:7].tolist() == [
        Role.GAME_BEGINS,
        *[Role.CONDITION] * 3,
        Role.HINT,
        Role.MOVE_BEGINS,
        Role.MOVE_ENDS,
    ]
    assert to_codes(tokenizer.decode_moves(encoded.ids)).tolist() == game.tolist()
    assert not set(encoded.ids[tokenizer.is_special[encoded.ids]]) & set(tokenizer.spell_word("e2e4"))
    bare = tokenizer.encode(game)
    assert [tokenizer.tokens[i] for i in bare.ids[:5]] == ["<bos>", "<white ?>", "<black ?>", "<result ?>", "e2"]


def test_a_game_in_pgn_char_by_hand():
    tokenizer = get_tokenizer("pgn-char")
    game = tokenizer.encode(to_codes(moves_of("e2e4 e7e5 g1f3")), "1-0")
    assert [tokenizer.tokens[i] for i in game.ids] == ["<bos>", *"1.e4 e5 2.Nf3 ", "<eos>"]
    assert game.ply.tolist() == [-1, *[0] * 5, *[1] * 3, *[2] * 6, 3]
    begins, ends, ornament = Role.MOVE_BEGINS, Role.MOVE_ENDS, Role.ORNAMENT
    assert game.role[1:].tolist() == [
        *(ornament, ornament, begins, 0, ends), *(begins, 0, ends),
        *(ornament, ornament, begins, 0, 0, ends), Role.GAME_ENDS,
    ]  # fmt: skip
