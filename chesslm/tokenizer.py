"""Games to tokens and back.

A tokenised game is three arrays of one length, made here and nowhere else: token ids, the ply each token belongs
to, and its role as bits. Masks for losses, probe positions and legality are comparisons on those arrays.

    <bos> <white 1800> <black 2000> 1   .   e4   e5   2   .   Nf3  ... <eos>
    ply:  -1      -1      -1        0   0   0    1    2   2   2          P
          (P plies; conditions and move numbers where there are any; <eos> only after a game whose result is known)

Needs no torch and no transformers: worker processes start in 0.2 s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import cache, cached_property
from itertools import chain
from operator import add
from typing import TYPE_CHECKING, Any

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards, conditions, san, words
from chesslm.conditions import Headers
from chesslm.errors import InputError
from chesslm.notation import PIECES, Notation, Tokens, get_notation

if TYPE_CHECKING:
    from chesslm.text_tokenizer import TextTokenizer

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(len(SPECIALS))
"""Special tokens come first, so their ids are the same in every vocabulary of ours."""

TokenIds = NDArray[Any]
"""Token ids, uint16, or uint32 where a foreign vocabulary is larger than that."""


def ids_dtype(vocabulary: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type of ids for so many tokens."""
    return np.uint16 if vocabulary <= 1 << 16 else np.uint32


KNOWN_RESULTS = ("1-0", "0-1", "1/2-1/2")


class Role(IntFlag):
    """What a token is in its game or its pair; it can be several (a one-token move both begins and ends it)."""

    MOVE_BEGINS = 1
    MOVE_ENDS = 2
    HINT = 4
    ORNAMENT = 8
    GAME_BEGINS = 16
    GAME_ENDS = 32
    CONDITION = 64
    TARGET = 128


# Members of an enumeration take a microsecond to look up, and arithmetic on them ten times as long as on ints.
_BEGINS, _ENDS, _CONDITION = int(Role.GAME_BEGINS), int(Role.GAME_ENDS), int(Role.CONDITION)
_HINT, _ORNAMENT = int(Role.HINT), int(Role.ORNAMENT)
_IN_FRONT, _STARTS = int(Role.HINT | Role.ORNAMENT), int(Role.MOVE_BEGINS | Role.GAME_ENDS)


@dataclass(frozen=True)
class TokenizedGame:
    """One game, or the first tokens of one; three arrays of shape (tokens,)."""

    ids: TokenIds
    role: NDArray[np.uint8]

    @cached_property
    def ply(self) -> NDArray[np.int16]:
        """The ply of each token; it follows from the roles."""
        return plies_of(self.role)

    def __len__(self) -> int:
        return len(self.ids)


@cache
def _move_roles(tokens: int) -> tuple[int, ...]:
    """The roles of a move of so many tokens."""
    roles = [0] * tokens
    roles[0] |= Role.MOVE_BEGINS
    roles[-1] |= Role.MOVE_ENDS
    return tuple(map(int, roles))


def plies_of(role: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The ply of each token from the roles of a whole game.

    <bos> and conditions are at ply -1, a move's number and hint at the ply of the move, and <eos> at the number of
    plies, one past the last move.
    """
    in_front = (role & _IN_FRONT) > 0
    begins = in_front | ((role & _STARTS) > 0)
    begins[1:] &= ~in_front[:-1]
    return (np.cumsum(begins) - 1).astype(np.int16)


@dataclass(frozen=True)
class Foreign:
    """The ids of a tokenizer that chesslm did not make.

    Attributes:
        tokens: by id, each as the text that it stands for; special ones and those that can be in no move under names
            of their own.
        text: the tokenizer itself, with its special tokens.
    """

    tokens: Tokens
    text: "TextTokenizer"


@dataclass(frozen=True)
class GameTokenizer:
    """A notation with the ids of its tokens.

    Attributes:
        notation: how moves are written.
        conditions: the kinds of condition that stand in front of a game (``conditions.KINDS``).
        foreign: where the ids are not ours.
    """

    notation: Notation
    conditions: tuple[str, ...] = ()
    foreign: Foreign | None = None

    @cached_property
    def tokens(self) -> Tokens:
        """All tokens by id: special ones, conditions, hints, then the notation's own."""
        if self.foreign:
            return self.foreign.tokens
        in_front = conditions.tokens_of_kinds(self.conditions)
        return (*SPECIALS, *in_front, *self.notation.hints, *self.notation.vocabulary)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Ids by token."""
        return {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def bos(self) -> int:
        """What a game begins with."""
        return self.foreign.text.bos if self.foreign else BOS

    @property
    def eos(self) -> int | None:
        """What ends a game whose result is known, if anything does."""
        return self.foreign.text.eos if self.foreign else EOS

    @property
    def pad(self) -> int | None:
        """What a model's settings name as padding; a foreign tokenizer may have none."""
        return None if self.foreign else PAD

    @property
    def context(self) -> int:
        """Tokens of a model made for it, unless its recipe says otherwise."""
        return self.notation.context

    @cached_property
    def is_special(self) -> NDArray[np.bool_]:
        """Which tokens are no part of a move or its number and are taken out before a model is asked for one, (V,)."""
        if self.foreign:
            return np.isin(np.arange(len(self)), list(self.foreign.text.specials))
        own = frozenset(self.notation.vocabulary)
        return np.array([token not in own for token in self.tokens])

    @cached_property
    def is_one_token(self) -> bool:
        """Whether every token behind the special ones is a whole move, the same on all boards."""
        notation = self.notation
        if self.foreign or notation.reads_board:
            return False
        return not any(notation.extensions((token,)) for token in notation.vocabulary)

    @cached_property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Of token ids."""
        return ids_dtype(len(self))

    def spell(self, move: chess.Move, board: chess.Board) -> tuple[int, ...]:
        """A move's token ids in a position."""
        return self.spell_word(words.san_word(move, board) if self.notation.reads_board else move.uci())

    def spell_word(self, word: str) -> tuple[int, ...]:
        """The token ids of a move's word."""
        known = self._spelled.get(word)
        if known is None:
            known = self._spelled[word] = tuple(self.ids[token] for token in self.notation.split(word))
        return known

    def spell_code(self, code: int) -> tuple[int, ...]:
        """The token ids of a move by its code, in a notation that needs no board."""
        known = self._spelled.get(code)
        if known is None:
            known = self._spelled[code] = self.spell_word(boards.code_move(code).uci())
        return known

    @cached_property
    def _spelled(self) -> dict[str | int, tuple[int, ...]]:
        """Spellings by word, and those that need no board by move code too."""
        return {}

    def text(self, ids: Sequence[int]) -> str:
        """What any tokens say, prose or junk; not for reading moves back (``decode_moves``)."""
        if self.foreign:
            return str(self.foreign.text.plain.decode(list(ids), skip_special_tokens=False))
        return "".join(self.tokens[i] for i in ids)

    def lead(self, ply: int) -> tuple[int, ...]:
        """The token ids in front of the move at a ply, such as its number's."""
        known = self._leads.get(ply)
        if known is None:
            known = self._leads[ply] = tuple(self.ids[token] for token in self.notation.lead(ply))
        return known

    @cached_property
    def _leads(self) -> dict[int, tuple[int, ...]]:
        """What stands in front of a move, by ply."""
        return {}

    def encode(
        self,
        codes: boards.MoveCodes,
        result: str = "*",
        headers: Headers | None = None,
        game_words: Sequence[str] | None = None,
        hints: bool = False,
    ) -> TokenizedGame:
        """A game's tokens: <bos>, conditions, its moves, and <eos> if the result is known.

        Args:
            codes: the moves (``boards.to_codes``), legal from the standard start.
            result: as in PGN; ``*`` and anything else unknown gets no <eos>.
            headers: for the conditions; None: all unknown.
            game_words: of the moves, where they are at hand; made from the moves otherwise.
            hints: whether each move's piece is named before it.
        """
        in_front = conditions.condition_tokens(self.conditions, headers or Headers())
        first = [self.bos, *(self.ids[token] for token in in_front)]
        last = [self.eos] if result in KNOWN_RESULTS and self.eos is not None else []
        if (table := self.by_code) and not hints:
            if self.is_one_token:
                ids, roles = table[0].ravel()[codes], _move_roles(1)  # a third of the time
            else:
                used = table[0][codes] > 0
                ids, roles = (each[codes][used] for each in table)
        else:
            ids, roles = self._spell_game(codes, game_words, hints)
        front, end = len(first), len(first) + len(ids)
        whole, role = np.empty(end + len(last), self.dtype), np.empty(end + len(last), np.uint8)
        whole[:front], whole[front:end], whole[end:] = first, ids, last
        role[0], role[1:front], role[front:end], role[end:] = _BEGINS, _CONDITION, roles, _ENDS
        return TokenizedGame(whole, role)

    def _spell_game(
        self, codes: boards.MoveCodes, game_words: Sequence[str] | None, hints: bool
    ) -> tuple[list[int], list[int]]:
        """Ids and roles of a game's moves."""
        if self.notation.reads_board:
            spelled = list(map(self.spell_word, san.write_moves(codes) if game_words is None else game_words))
        else:
            spelled = list(map(self.spell_code, codes.tolist()))
        roles = [_move_roles(len(move)) for move in spelled]
        if hints:
            types = (types[code & 63] for code, types in zip(codes.tolist(), boards.types_before(codes), strict=True))
            spelled = [(self.ids[PIECES[kind - 1]], *move) for kind, move in zip(types, spelled, strict=True)]
            roles = [(_HINT, *role) for role in roles]
        if self.notation.lead(0):
            leads = list(map(self.lead, range(len(spelled))))
            spelled = list(map(add, leads, spelled))
            roles = [(_ORNAMENT,) * len(lead) + role for lead, role in zip(leads, roles, strict=True)]
        return list(chain.from_iterable(spelled)), list(chain.from_iterable(roles))

    @cached_property
    def by_code(self) -> tuple[NDArray[Any], NDArray[np.uint8]] | None:
        """Ids and roles of every move by its code, (24576, T), 0 behind its last token; None where boards matter.

        Five times as fast as spelling move by move.
        """
        if self.foreign or self.notation.reads_board or self.notation.lead(0):
            return None
        codes = [boards.move_code(chess.Move.from_uci(word)) for word in words.geometric_moves()]
        spelled = [self.spell_code(code) for code in codes]
        ids = np.zeros((6 << 12, max(map(len, spelled))), self.dtype)
        roles = np.zeros(ids.shape, np.uint8)
        for code, spelling in zip(codes, spelled, strict=True):
            ids[code, : len(spelling)] = spelling
            roles[code, : len(spelling)] = _move_roles(len(spelling))
        return ids, roles

    def decode_moves(self, ids: Sequence[int] | NDArray[Any]) -> list[chess.Move]:
        """The moves of a game's tokens; special tokens and move numbers are passed over.

        Raises:
            InputError: the tokens spell something that is no move (legality is not checked where the notation
                can be read without the board).
        """
        spelled = list(self._moves_begun(ids))
        if self.notation.reads_board:
            known = san.read_moves([self.notation.join(tokens).rstrip("+#") for tokens in spelled])
            if known is not None and all(map(self.notation.ends, spelled)):
                return boards.to_moves(known)
        moves: list[chess.Move] = []
        board = chess.Board()
        for tokens in spelled:
            move = self.notation.parse(tokens, board)
            if move is None:
                raise InputError(f"{' '.join(tokens)!r} at ply {len(moves)} is no move in {self.notation.name}")
            moves.append(move)
            if self.notation.reads_board:
                board.push(move)
        return moves

    def _moves_begun(self, ids: Sequence[int] | NDArray[Any]) -> Iterator[Tokens]:
        """The tokens of each move of a game."""
        begun: Tokens = ()
        ply, passed = 0, 0
        for i in ids:
            if self.is_special[i]:
                continue
            token = self.tokens[int(i)]
            if begun and token not in self.notation.extensions(begun):
                yield begun
                begun, ply, passed = (), ply + 1, 0
            lead = self.notation.lead(ply)
            if not begun and passed < len(lead) and token == lead[passed]:
                passed += 1
                continue
            begun = (*begun, token)
        if begun:
            yield begun


def get_tokenizer(notation: str, conditions: tuple[str, ...] = ()) -> GameTokenizer:
    """The tokenizer of a notation whose vocabulary is fixed.

    Raises:
        InputError: no such notation, or one whose vocabulary is learned.
    """
    return GameTokenizer(get_notation(notation), conditions)
