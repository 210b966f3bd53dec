"""Moves as English sentences, and back: what a sentence says is a few facts, and each fact can be read from it.

    board, move -> Facts -> "the knight on g1 takes the bishop on f3 with check" -> Facts -> move

A sentence is made of a core (who goes where, what is taken), a promotion, and check or mate. One table of wordings both
writes and reads, so whatever is written is read back, and every other wording of the table counts as well. It names the
squares of origin and target, so the move follows from the sentence alone, without the board.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import chess

PIECES = dict(enumerate(chess.PIECE_NAMES))
"""Names of the piece types; 0 is none."""
VERBS = {
    "moves": ("moves", "goes", "heads", "travels"),
    "takes": ("takes", "captures", "removes"),
    "taken": ("is taken", "is captured", "is removed"),
}
WINGS = {"kingside": True, "on the king's side": True, "queenside": False, "on the queen's side": False}
QUIET = (
    "the {piece} on {origin} {moves} to {target}",
    "the {piece} {moves} from {origin} to {target}",
    "from {origin} the {piece} {moves} to {target}",
    "to {target} {moves} the {piece} from {origin}",
)
TAKING = (
    "the {piece} on {origin} {takes} the {captured} on {target}",
    "from {origin} the {piece} {takes} the {captured} on {target}",
    "on {target} the {piece} from {origin} {takes} the {captured}",
    "the {captured} on {target} {taken} by the {piece} on {origin}",
)
EN_PASSANT = (
    "the pawn on {origin} {takes} the pawn en passant on {target}",
    "the pawn {moves} from {origin} to {target}, taking the pawn en passant",
    "en passant the pawn on {origin} {takes} the pawn, landing on {target}",
)
CASTLING = ("{side} castles {wing}", "the king on {origin} castles {wing}", "{wing} the king on {origin} castles")
PROMOTIONS = (", promoting to a {promotion}", ", turning into a {promotion}", " with promotion to a {promotion}")
CHECKS = {"check": ("with check", "giving check"), "mate": ("with checkmate", "giving mate")}


@dataclass(frozen=True)
class Facts:
    """What a sentence says of a move.

    Attributes:
        piece: name of the piece that moves.
        origin, target: names of the squares; castling is the king's step of two.
        captured: name of the piece taken; None: nothing is.
        en_passant: whether it is taken so.
        castling: whether the move is that.
        promotion: name of the piece that a pawn becomes.
        check: ``check``, ``mate`` or nothing.
    """

    piece: str
    origin: str
    target: str
    captured: str | None = None
    en_passant: bool = False
    castling: bool = False
    promotion: str | None = None
    check: str = ""

    @property
    def uci(self) -> str:
        """The move."""
        letter = chess.PIECE_SYMBOLS[chess.PIECE_NAMES.index(self.promotion)] if self.promotion else ""
        return f"{self.origin}{self.target}{letter}"


def facts_of(board: chess.Board, move: chess.Move) -> Facts:
    """What is true of a legal move; the board before it is not changed in the end."""
    en_passant, castling = board.is_en_passant(move), board.is_castling(move)
    captured = chess.PAWN if en_passant else board.piece_type_at(move.to_square) or 0
    piece = PIECES[board.piece_type_at(move.from_square) or 0]
    board.push(move)
    check = "" if not board.is_check() else "check" if any(board.generate_legal_moves()) else "mate"
    board.pop()
    squares = (chess.square_name(move.from_square), chess.square_name(move.to_square))
    return Facts(str(piece), *squares, PIECES[captured], en_passant, castling, PIECES[move.promotion or 0], check)


def wordings(facts: Facts) -> list[str]:
    """All sentences that say these facts, each once."""
    cores = QUIET
    if facts.castling:
        cores = CASTLING
    elif facts.captured:
        cores = EN_PASSANT if facts.en_passant else TAKING
    tails = [tail.format(promotion=facts.promotion) for tail in PROMOTIONS] if facts.promotion else [""]
    return [
        sentence
        for core, tail in product(cores, tails)
        for said in _filled(core, facts)
        for sentence in _checked(said + tail, facts.check)
    ]


def _filled(core: str, facts: Facts) -> Iterator[str]:
    """A core with every choice of words in it."""
    king_side = facts.target[0] == "g"
    words: dict[str, tuple[str, ...]] = {
        **VERBS,
        "wing": tuple(wing for wing, side in WINGS.items() if side == king_side),
        "side": ("white" if facts.origin == "e1" else "black",),
        "piece": (facts.piece,),
        "captured": (str(facts.captured),),
        "origin": (facts.origin,),
        "target": (facts.target,),
    }
    names = re.findall(r"{(\w+)}", core)
    for chosen in product(*(words[name] for name in names)):
        yield core.format(**dict(zip(names, chosen, strict=True)))


def _checked(said: str, check: str) -> Iterator[str]:
    """A sentence with its check, in front or behind."""
    if not check:
        yield said
    for words in CHECKS.get(check, ()):
        yield f"{said} {words}"
        yield f"{words}, {said}"


def wording_bits(facts: Facts) -> float:
    """What is left to chance in a sentence of known facts, each wording being equally likely."""
    return math.log2(len(wordings(facts)))


def read_english(sentence: str) -> Facts | None:
    """The facts that a sentence says, in any of the wordings; None if it is none of them."""
    for core, pattern in _patterns():
        if match := pattern.fullmatch(sentence):
            said = match.groupdict()
            checks = [name for name in (said["before"], said["behind"]) if name]
            if len(checks) > 1:
                return None
            check = next((name for name, words in CHECKS.items() if checks and checks[0] in words), "")
            return _castling(said, check) if core in CASTLING else _facts(core, said, check)
    return None


def _facts(core: str, said: dict[str, str], check: str) -> Facts:
    en_passant = core in EN_PASSANT
    captured = "pawn" if en_passant else said.get("captured")
    piece = "pawn" if en_passant else said["piece"]
    return Facts(piece, said["origin"], said["target"], captured, en_passant, False, said.get("promotion"), check)


def _castling(said: dict[str, str], check: str) -> Facts | None:
    origin = said.get("origin") or ("e1" if said["side"] == "white" else "e8")
    if origin not in ("e1", "e8") or said.get("promotion"):
        return None
    target = ("g" if WINGS[said["wing"]] else "c") + origin[1]
    return Facts("king", origin, target, castling=True, check=check)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """A regular expression for each core, whose groups are the facts."""
    pieces, square = "|".join(chess.PIECE_NAMES[1:]), "[a-h][1-8]"
    groups = {
        **{name: f"(?:{'|'.join(words)})" for name, words in VERBS.items()},
        "piece": f"(?P<piece>{pieces})",
        "captured": f"(?P<captured>{pieces})",
        "origin": f"(?P<origin>{square})",
        "target": f"(?P<target>{square})",
        "side": "(?P<side>white|black)",
        "wing": f"(?P<wing>{'|'.join(WINGS)})",
    }
    checks = "|".join(words for each in CHECKS.values() for words in each)
    becomes = "|".join(tail.format(promotion="") for tail in PROMOTIONS)
    tail = f"(?:(?:{becomes})(?P<promotion>knight|bishop|rook|queen))?(?: (?P<behind>{checks}))?"
    return tuple(
        (core, re.compile(f"(?:(?P<before>{checks}), )?{core.format(**groups)}{tail}"))
        for core in (*QUIET, *TAKING, *EN_PASSANT, *CASTLING)
    )
