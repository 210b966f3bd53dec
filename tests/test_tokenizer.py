"""Games to tokens: the one alignment, and tokenizer files that plain transformers reads alike."""

import json
import random
from pathlib import Path

import chess
import numpy as np
import pytest
from hypothesis import given, settings
from random_games import games

from chesslm.boards import MoveCodes, to_codes, to_moves
from chesslm.errors import InputError
from chesslm.notation import NAMES
from chesslm.tokenizer import (
    BOS,
    EOS,
    KNOWN_RESULTS,
    PAD,
    SPECIALS,
    UNK,
    Role,
    check_tokenizer,
    get_tokenizer,
    save_tokenizer,
)

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
        tokenizer = get_tokenizer(name)
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
    tokenizer = get_tokenizer(name)
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
            assert "".join(tokenizer.tokens[i] for i in tokenized.ids[own]) == move.uci()
            roles = tokenized.role[own]
            assert np.flatnonzero(roles & Role.MOVE_BEGINS).tolist() == [0]
            assert np.flatnonzero(roles & Role.MOVE_ENDS).tolist() == [len(roles) - 1]


@notations
@given(game=games())
@settings(max_examples=30, deadline=None)
def test_moves_come_back_from_tokens(name: str, game: list[chess.Move]):
    tokenizer = get_tokenizer(name)
    assert tokenizer.decode_moves(tokenizer.encode(to_codes(game), "1-0").ids) == game


@notations
def test_a_rook_on_the_last_rank_is_no_promotion(name: str):
    tokenizer = get_tokenizer(name)
    game = moves_of(ODD_GAME)
    assert tokenizer.decode_moves(tokenizer.encode(to_codes(game)).ids) == game


def test_tokens_that_spell_no_move_are_named():
    tokenizer = get_tokenizer("uci-square")
    ids = [BOS, *(tokenizer.ids[token] for token in ("e2", "e4", "q", "e7"))]
    with pytest.raises(InputError, match="'q e7' at ply 1 is no move in uci-square"):
        tokenizer.decode_moves(ids)
    with pytest.raises(InputError, match="'e2' at ply 0"):
        tokenizer.decode_moves(ids[:2])


@pytest.mark.parametrize("name", NAMES)
def test_plain_transformers_tokenises_text_alike(name: str, tiny_games: list[MoveCodes], tmp_path: Path):
    from transformers import AutoTokenizer

    tokenizer = get_tokenizer(name)
    save_tokenizer(tokenizer, tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert len(plain) == len(tokenizer)
    assert (plain.pad_token_id, plain.bos_token_id, plain.eos_token_id, plain.unk_token_id) == (PAD, BOS, EOS, UNK)
    for codes in [*tiny_games[:100], to_codes(moves_of(ODD_GAME))]:
        ucis = [move.uci() for move in to_moves(codes)]
        expected = tokenizer.encode(codes).ids.tolist()
        assert plain(" ".join(ucis))["input_ids"] == expected
        assert plain("".join(ucis))["input_ids"] == expected
        assert plain("\n".join(ucis) + "\n")["input_ids"] == expected
    assert UNK in plain("e2e9")["input_ids"]
    # What transformers 4 reads: the class that both versions know.
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


@pytest.mark.parametrize("name", NAMES)
def test_text_without_spaces_is_read_in_one_way_only(name: str, tmp_path: Path):
    """Any two moves in a row, written together: a piece to the last rank before a b-file move is no promotion."""
    from tokenizers import Tokenizer

    tokenizer = get_tokenizer(name)
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


def test_a_tokenizer_of_another_notation_is_refused(tmp_path: Path):
    save_tokenizer(get_tokenizer("uci-square"), tmp_path)
    check_tokenizer(get_tokenizer("uci-square"), tmp_path)
    with pytest.raises(InputError, match="not those of uci-move"):
        check_tokenizer(get_tokenizer("uci-move"), tmp_path)


def test_a_missing_or_broken_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        check_tokenizer(get_tokenizer("uci-move"), tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(InputError, match="not a readable tokenizer"):
        check_tokenizer(get_tokenizer("uci-move"), tmp_path)
