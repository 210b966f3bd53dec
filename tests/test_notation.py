"""Notations against python-chess: spelling and parsing, the vocabulary, what may legally come next."""

import random

import chess
import pytest
from hypothesis import given, settings
from random_games import games, notation_of

from chesslm.errors import InputError
from chesslm.notation import (
    ALPHABETS,
    NAMES,
    TRAINED,
    Notation,
    get_notation,
    legal_continuations,
    legal_spellings,
)
from chesslm.words import PROMOTIONS, geometric_moves, geometric_sans

notations = pytest.mark.parametrize("name", NAMES)

# Positions in which the moves of a kind are legal; both colours.
SPECIAL = {
    "castling, white": ("r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1", ["e1g1", "e1c1"]),
    "castling, black": ("r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 0 1", ["e8g8", "e8c8"]),
    "en passant, white": ("4k3/8/8/2PpP3/8/8/8/4K3 w - d6 0 1", ["c5d6", "e5d6"]),
    "en passant, black": ("4k3/8/8/8/2pPp3/8/8/4K3 b - d3 0 1", ["c4d3", "e4d3"]),
    "promotion, white": (
        "n1n4k/1P6/8/8/8/8/8/7K w - - 0 1",
        [f"b7{to}{letter}" for to in ("a8", "b8", "c8") for letter in PROMOTIONS],
    ),
    "promotion, black": (
        "7k/8/8/8/8/8/6p1/K4N1N b - - 0 1",
        [f"g2{to}{letter}" for to in ("f1", "g1", "h1") for letter in PROMOTIONS],
    ),
}


def test_the_geometric_moves_are_those_of_queens_knights_and_promoting_pawns():
    expected = set()
    for origin in chess.SQUARE_NAMES:
        for target in chess.SQUARE_NAMES:
            files, ranks = abs(ord(origin[0]) - ord(target[0])), abs(int(origin[1]) - int(target[1]))
            straight = origin != target and (files == 0 or ranks == 0 or files == ranks)
            if straight or sorted((files, ranks)) == [1, 2]:
                expected.add(origin + target)
            if files <= 1 and (origin[1] + target[1]) in ("78", "21"):
                expected |= {origin + target + letter for letter in "qrbn"}
    moves = geometric_moves()
    assert len(moves) == len(set(moves)) == 1968
    assert set(moves) == expected


def test_uci_square_has_the_squares_and_the_promotion_letters():
    assert get_notation("uci-square").vocabulary == (*chess.SQUARE_NAMES, "q", "r", "b", "n")


def test_an_unknown_notation_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"'lan'.*uci-move, uci-square, san"):
        get_notation("lan")


@pytest.mark.parametrize("name", TRAINED)
def test_a_learned_vocabulary_does_not_come_from_nothing(name: str):
    with pytest.raises(InputError, match="learned from games"):
        get_notation(name)


@notations
@pytest.mark.parametrize(("fen", "moves"), SPECIAL.values(), ids=SPECIAL)
def test_special_moves_are_spelled_and_parsed(name: str, fen: str, moves: list[str]):
    notation = notation_of(name)
    board = chess.Board(fen)
    spellings = legal_spellings(notation, board)
    assert set(moves) <= {move.uci() for move in spellings.values()}
    for uci in moves:
        move = chess.Move.from_uci(uci)
        tokens = notation.spell(move, board)
        assert notation.join(tokens) == (board.san(move) if notation.reads_board else uci)
        assert set(tokens) <= set(notation.vocabulary)
        assert notation.parse(tokens, board) == move == spellings[tokens]


@notations
@given(game=games())
@settings(max_examples=30, deadline=None)
def test_every_game_can_be_spelled_and_parsed_again(name: str, game: list[chess.Move]):
    notation = notation_of(name)
    vocabulary = set(notation.vocabulary)
    board = chess.Board()
    for move in game:
        tokens = notation.spell(move, board)
        assert vocabulary.issuperset(tokens)
        assert notation.parse(tokens, board) == move
        board.push(move)


@notations
@given(game=games())
@settings(max_examples=30, deadline=None)
def test_every_legal_move_can_be_reached_through_the_extensions(name: str, game: list[chess.Move]):
    notation = notation_of(name)
    board = chess.Board()
    for move in game:
        board.push(move)
    for tokens, move in legal_spellings(notation, board).items():
        for n in range(len(tokens)):
            assert tokens[n] in notation.extensions(tokens[:n])
        left = notation.extensions(tokens)
        # A move is over, or it is a piece's move where a pawn's would go on with the piece it becomes.
        assert not left or (not move.promotion and left == set(PROMOTIONS) and tokens[-1][1] in "18")


@notations
def test_extensions_are_exactly_what_the_notation_can_go_on_with(name: str):
    """Every sequence of tokens that the extensions allow, to the end, is a move or (squares) a geometric nonsense."""
    notation = notation_of(name)
    spelled = set()
    draw = random.Random(1)

    def walk(begun: tuple[str, ...]) -> None:
        further = notation.extensions(begun)
        if not further or (further == set(PROMOTIONS)):
            assert notation.ends(begun) or begun[0] == begun[1]
            spelled.add(notation.join(begun))
        # There are very many ways to cut a move into pieces.
        for token in sorted(further) if name not in TRAINED else draw.sample(sorted(further), min(len(further), 9)):
            walk((*begun, token))

    walk(())
    geometric = set(geometric_moves())
    if notation.name == "uci-move":
        assert spelled == geometric
    elif notation.reads_board:
        assert spelled <= set(geometric_sans())
        assert name in TRAINED or len(spelled) == len(geometric_sans())
    else:
        pairs = {origin + target for origin in chess.SQUARE_NAMES for target in chess.SQUARE_NAMES}
        assert spelled == geometric | pairs


@notations
def test_what_no_move_begins_with_is_no_move_however_it_goes_on(name: str):
    """Junk goes on with nothing, and its parts make no move: SAN without the geometry would read Ke4d5 as Kd5."""
    notation = notation_of(name)
    junk = {"uci-move": ("e2e4", "e2e4"), "uci-square": ("q",)}.get(name, (*"Ke4", *notation.split("d5")))
    assert not notation.extensions(junk)
    assert not notation.ends(junk)
    assert notation.parse(junk, chess.Board("4k3/8/8/8/4K3/8/8/8 w - - 0 1")) is None


@notations
@given(game=games())
@settings(max_examples=15, deadline=None)
def test_legal_continuations_are_those_that_brute_force_finds(name: str, game: list[chess.Move]):
    notation = notation_of(name)
    board = chess.Board()
    for move in game:
        board.push(move)
    whole = [split_by_hand(notation, board.san(move), move.uci()) for move in board.legal_moves]

    def brute(*begun: str) -> set[str]:
        tries = {token: (*begun, token) for token in notation.vocabulary}
        return {token for token, tokens in tries.items() if any(move[: len(tokens)] == tokens for move in whole)}

    assert legal_continuations(notation, board) == brute()
    if name == "uci-square":
        for origin in chess.SQUARE_NAMES:
            assert legal_continuations(notation, board, (origin,)) == brute(origin)
    for tokens in whole:
        # Nothing follows a whole move, unless a longer one begins alike (a rook's e7e8, a pawn's e7e8q).
        assert legal_continuations(notation, board, tokens) == brute(*tokens)


def split_by_hand(notation: Notation, san: str, uci: str) -> tuple[str, ...]:
    if not notation.reads_board:
        return (uci,) if notation.name == "uci-move" else (uci[:2], uci[2:4], *uci[4:])
    if f"{san} " in notation.vocabulary:
        return (f"{san} ",)
    pieces = list(f"{san} ")
    for pair in notation.merges:
        at = 0
        while at < len(pieces) - 1:
            if (pieces[at], pieces[at + 1]) == pair:
                pieces[at : at + 2] = ["".join(pair)]
            at += 1
    return tuple(pieces)


@pytest.mark.parametrize("name", TRAINED)
def test_a_learned_vocabulary_can_write_any_move(name: str):
    notation = notation_of(name)
    assert set(ALPHABETS[name]) <= set(notation.vocabulary)
    assert len(notation.vocabulary) == len(set(notation.vocabulary)) == 300
    lengths = {len(notation.split(san)) for san in geometric_sans()}
    assert min(lengths) == 1 < max(lengths)
    assert all(notation.join(notation.split(san)) == san for san in geometric_sans())
    assert not any(" " in token[:-1] for token in notation.vocabulary), "no token crosses a move"


def test_move_numbers_stand_before_whites_moves():
    assert notation_of("pgn-char").lead(0) == ("1", ".")
    assert notation_of("pgn-char-spaced").lead(24) == ("1", "3", ".", " ")
    assert "".join(notation_of("bpe").lead(198)) == "100."
    for name in NAMES:
        assert notation_of(name).lead(1) == () == notation_of("san").lead(0)


@pytest.mark.parametrize("name", ["san", "pgn-char", "bpe"])
@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("Nf3", "g1f3"), ("Ng1f3", "g1f3"), ("Nf3+", "g1f3"), ("Nxf3", "g1f3"), ("e4", "e2e4"),
        ("exd3", "e2d3"), ("Rh3", "h1h3"), ("Qd2", "d1d2"), ("O-O", "e1g1"), ("e8=Q", "e2e8q"), ("Qe4", "d1e4"),
    ],
)  # fmt: skip
def test_san_is_read_as_the_move_that_it_most_nearly_is(name: str, word: str, meant: str):
    notation = notation_of(name)
    assert notation.parse(tuple(f"{word} "), chess.Board()) == chess.Move.from_uci(meant)


def test_san_that_two_pieces_or_none_could_mean():
    notation = notation_of("pgn-char")
    board = chess.Board("4k3/8/8/8/8/8/8/N3K1N1 w - - 0 1")
    board.push_san("Nf3")
    board.push_san("Kd8")
    board.push_san("Nb3")
    board.push_san("Ke8")
    assert notation.parse(tuple("Nd4 "), board) is None, "either knight"
    assert notation.parse(tuple("Nbd4 "), board) == chess.Move.from_uci("b3d4")
    nobody = notation.parse(tuple("Qd4 "), board)
    assert nobody and board.piece_at(nobody.from_square) is None
    for junk in ("Nd4", "Nd9 ", " ", "d4x ", "e8=K ", "Nd4 Nd4 "):
        assert notation.parse(tuple(junk), board) is None


@notations
@pytest.mark.parametrize("junk", [(), ("e2",), ("e2", "e2"), ("x",), ("0000",), ("e2e4", "e7e5")])
def test_junk_spells_no_move(name: str, junk: tuple[str, ...]):
    notation = notation_of(name)
    assert notation.parse(junk, chess.Board()) is None
