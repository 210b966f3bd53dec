"""Novelty: from which ply on a game has left the training games behind.

    games as move codes, the training split  ->  first novel ply of each game, int64 (games,)

A position is what decides which moves are legal: piece placement, side to move, castling rights, and the file of a
possible en passant capture where a pawn stands ready to make it (pinned or not). Move counters and repetitions are
no part of it, so a position reached by another move order is not novel. Positions are compared by their 64-bit
Zobrist hashes (Zobrist 1970) with the keys of Polyglot's opening books, which python-chess carries: equal to
``chess.polyglot.zobrist_hash``, which is the oracle in the tests. With 32 million training positions and 40,000 of
held-out games, the chance that any two different ones collide is below 1e-7.

All games of a shard are replayed side by side, one ply at a time, so that numpy does the work: 12 million plies a
second on one core, reading the shards included, against 0.1 million by python-chess. Needs no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import chess
import numpy as np
from chess.polyglot import POLYGLOT_RANDOM_ARRAY
from numpy.typing import NDArray

from chesslm import boards
from chesslm.fast import read_many
from chesslm.shards import Split
from chesslm.tokenizer import GameTokenizer, Role, TokenIds
from chesslm.words import geometric_moves

BATCH_GAMES = 4096
"""Games replayed together: 256 KB of boards, which stay in the cache."""

# A vectorised board holds 0 for an empty square, else 1 + Polyglot's index: black pawn 1, white pawn 2, black
# knight 3 ... white king 12. So a piece is 2 * type - 1 + white.
_RANDOM = np.array(POLYGLOT_RANDOM_ARRAY, dtype=np.uint64)
_PIECE_KEYS = np.concatenate([np.zeros(64, np.uint64), _RANDOM[:768]])
_EN_PASSANT_KEYS = _RANDOM[772:780]
_WHITE_TO_MOVE = _RANDOM[780]

# Castling rights are four bits: white short and long, black short and long; a move from or to a corner or a king's
# first square ends those that need it.
_RIGHTS_KEYS = np.array(
    [np.bitwise_xor.reduce(_RANDOM[768:772][[bool(rights >> bit & 1) for bit in range(4)]]) for rights in range(16)],
    dtype=np.uint64,
)
_RIGHTS_KEPT = np.full(64, 15, dtype=np.uint8)
for _square, _lost in ((chess.E1, 3), (chess.H1, 1), (chess.A1, 2), (chess.E8, 12), (chess.H8, 4), (chess.A8, 8)):
    _RIGHTS_KEPT[_square] = 15 & ~_lost


def _start() -> NDArray[np.uint8]:
    board = np.zeros(64, dtype=np.uint8)
    for square, piece in chess.Board().piece_map().items():
        board[square] = 2 * piece.piece_type - 1 + piece.color
    return board


def position_hashes(codes: boards.MoveCodes, offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hashes of every position of many games, before each move and after the last one.

    Args:
        codes: the moves of all games, one game after the other, legal from the standard start, shape (plies,).
        offsets: where each game begins in them, and the end, shape (games + 1,).

    Returns:
        Shape (plies + games,): game ``g`` has its positions from ``offsets[g] + g`` on, one more than it has moves.
    """
    lengths = np.diff(offsets)
    hashes = np.empty(len(codes) + len(lengths), dtype=np.uint64)
    # Longest first, so that the games still going on are the first ones of a batch at any ply.
    order = np.argsort(-lengths, kind="stable")
    for first in range(0, len(order), BATCH_GAMES):
        batch = order[first : first + BATCH_GAMES]
        _replay(codes, offsets[batch], lengths[batch], hashes, offsets[batch] + batch)
    return hashes


def _replay(
    codes: boards.MoveCodes,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    places: NDArray[np.int64],
) -> None:
    """Replay games of falling length side by side and put their hashes where they belong."""
    board = np.tile(_start(), len(starts))
    base = np.arange(len(starts)) * 64
    squares = np.flatnonzero(_start())
    placement = np.bitwise_xor.reduce(_PIECE_KEYS[_start()[squares].astype(np.intp) << 6 | squares])
    key = np.full(len(starts), placement)
    rights = np.full(len(starts), 15, dtype=np.uint8)
    hashes[places] = key ^ _RIGHTS_KEYS[rights] ^ _WHITE_TO_MOVE
    active = np.searchsorted(-lengths, -np.arange(lengths.max(initial=0)), side="left")
    for ply, n in enumerate(active.tolist()):
        white = ply % 2 == 0
        pawn, rook, king, enemy_pawn = 1 + white, 7 + white, 11 + white, 2 - white
        base, key, rights = base[:n], key[:n], rights[:n]
        code = codes[starts[:n] + ply].astype(np.intp)
        origin, target = code & 63, code >> 6 & 63
        at_origin, at_target = base + origin, base + target
        moved, captured = board[at_origin].astype(np.intp), board[at_target].astype(np.intp)
        placed = moved.copy()
        promoted = np.flatnonzero(code >> 12)
        placed[promoted] = 2 * (code[promoted] >> 12) - 1 + white
        board[at_origin] = 0
        board[at_target] = placed
        key ^= _PIECE_KEYS[moved << 6 | origin] ^ _PIECE_KEYS[placed << 6 | target]
        key ^= _PIECE_KEYS[captured << 6 | target]
        rights &= _RIGHTS_KEPT[origin] & _RIGHTS_KEPT[target]

        step = target - origin
        castled = np.flatnonzero((moved == king) & (np.abs(step) == 2))
        corner = np.where(step[castled] > 0, target[castled] + 1, target[castled] - 2)
        beside = (origin[castled] + target[castled]) // 2
        board[base[castled] + corner] = 0
        board[base[castled] + beside] = rook
        key[castled] ^= _PIECE_KEYS[rook << 6 | corner] ^ _PIECE_KEYS[rook << 6 | beside]

        by_pawn = moved == pawn
        passing = np.flatnonzero(by_pawn & (captured == 0) & (step & 7 != 0))
        taken = origin[passing] & 56 | target[passing] & 7
        board[base[passing] + taken] = 0
        key[passing] ^= _PIECE_KEYS[enemy_pawn << 6 | taken]

        position = key ^ _RIGHTS_KEYS[rights]
        if not white:
            position ^= _WHITE_TO_MOVE
        doubled = np.flatnonzero(by_pawn & (np.abs(step) == 16))
        file, square = target[doubled] & 7, at_target[doubled]
        # A neighbour over the board's edge is looked at too (modulo the buffer) but never counted.
        left = (file > 0) & (board.take(square - 1, mode="wrap") == enemy_pawn)
        right = (file < 7) & (board.take(square + 1, mode="wrap") == enemy_pawn)
        ready = left | right
        position[doubled[ready]] ^= _EN_PASSANT_KEYS[file[ready]]
        hashes[places[:n] + ply + 1] = position


def move_codes(split: Split, shard: int, tokenizer: GameTokenizer) -> tuple[boards.MoveCodes, NDArray[np.int64]]:
    """The moves of a shard's games from its token ids.

    Returns:
        Codes of all games, one after the other, shape (plies,); where each game begins, and the end, (games + 1,).
    """
    ids, roles, offsets = split.ids[shard], split.roles[shard], split.offsets[shard]
    begins = np.flatnonzero(roles & Role.MOVE_BEGINS)
    games = np.searchsorted(begins, offsets)
    lengths = np.flatnonzero(roles & Role.MOVE_ENDS) - begins + 1
    if tokenizer.notation.reads_board:
        words = _san(ids, begins, lengths, tokenizer)
        read = read_many([words[first:last] for first, last in pairwise(games)])
        codes = [
            boards.to_codes(tokenizer.decode_moves(ids[start:stop])) if game is None else game
            for game, (start, stop) in zip(read, pairwise(offsets), strict=True)
        ]
        return np.concatenate([np.zeros(0, np.uint16), *codes]), games
    table, longest = _spelling_table(tokenizer)
    spelled = ids[begins].astype(np.intp)
    for place in range(1, longest):
        further = np.flatnonzero(lengths > place)
        spelled[further] += ids[begins[further] + place].astype(np.intp) * len(tokenizer) ** place
    return table[spelled], games


def _san(ids: TokenIds, begins: NDArray[np.int64], lengths: NDArray[np.int64], tokenizer: GameTokenizer) -> list[str]:
    """The moves that begin at those places and have so many tokens, in SAN without check marks."""
    spelled = np.full((len(begins), lengths.max(initial=1)), -1, np.int32)
    for place in range(spelled.shape[1]):
        further = np.flatnonzero(lengths > place)
        spelled[further, place] = ids[begins[further] + place]
    words = _Words(tokenizer)
    # Row by row as bytes: there are some ten thousand different ones among millions.
    return list(map(words.__getitem__, spelled.view(f"V{spelled.itemsize * spelled.shape[1]}").ravel().tolist()))


class _Words(dict[bytes, str]):
    """SAN without check marks by the ids of its tokens, int32, -1 behind the last one."""

    def __init__(self, tokenizer: GameTokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, spelled: bytes) -> str:
        tokens = tuple(self._tokenizer.tokens[i] for i in np.frombuffer(spelled, np.int32).tolist() if i >= 0)
        self[spelled] = self._tokenizer.notation.join(tokens).rstrip("+#")
        return self[spelled]


def _spelling_table(tokenizer: GameTokenizer) -> tuple[boards.MoveCodes, int]:
    """Move codes by spelling, where a spelling is a number whose digits are token ids; and the longest spelling.

    Has an entry for each number: 1,972 for uci-move, 373,248 for uci-square.
    """
    anywhere = chess.Board()
    moves = [chess.Move.from_uci(move) for move in geometric_moves()]
    spellings = [tokenizer.spell(move, anywhere) for move in moves]
    longest = max(map(len, spellings))
    table = np.zeros(len(tokenizer) ** longest, dtype=np.uint16)
    for move, spelling in zip(moves, spellings, strict=True):
        table[sum(i * len(tokenizer) ** place for place, i in enumerate(spelling))] = boards.move_code(move)
    return table, longest


def first_novel_ply(games: Sequence[boards.MoveCodes], split: Split, tokenizer: GameTokenizer) -> NDArray[np.int64]:
    """The first ply of each game at which the position before the move occurs in no training game.

    Args:
        games: held-out games as move codes, legal from the standard start.
        split: the training games.
        tokenizer: that of the split.

    Returns:
        Shape (games,); the number of plies for a game that never leaves the training games. Plies from this one on
        count as novel, also where a later position is known again.
    """
    lengths = np.array([len(game) for game in games], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = np.concatenate([np.zeros(0, np.uint16), *games])
    wanted, where = np.unique(position_hashes(codes, offsets), return_inverse=True)
    known = _occur(wanted, split, tokenizer)[where]
    firsts = lengths.copy()
    for game, (start, length) in enumerate(zip(offsets[:-1] + np.arange(len(games)), lengths, strict=True)):
        novel = np.flatnonzero(~known[start : start + length])
        if len(novel):
            firsts[game] = novel[0]
    return firsts


def _occur(wanted: NDArray[np.uint64], split: Split, tokenizer: GameTokenizer) -> NDArray[np.bool_]:
    """Which of the hashes (sorted, without doubles) are positions of the split's games."""
    known = np.zeros(len(wanted), dtype=np.bool_)
    keys = KeySet(wanted)
    for shard in range(len(split.ids)):
        _, places = keys.find(position_hashes(*move_codes(split, shard, tokenizer)))
        known[places] = True
    return known


@dataclass(frozen=True)
class KeySet:
    """Some keys to be found among very many.

    Attributes:
        keys: ascending, without doubles, uint64, shape (keys,).
    """

    keys: NDArray[np.uint64]

    @cached_property
    def _bits(self) -> int:
        return max(16, (16 * len(self.keys)).bit_length())

    def _slots(self, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4)."""
        return keys * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - self._bits)

    @cached_property
    def _taken(self) -> NDArray[np.bool_]:
        taken = np.zeros(1 << self._bits, dtype=np.bool_)
        taken[self._slots(self.keys)] = True
        return taken

    def find(self, among: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where keys of the set stand in an array, and which ones they are: two arrays of one length."""
        # One look at a table of bits passes over most of the rest; the binary search is 20 times dearer.
        at = np.flatnonzero(self._taken[self._slots(among)])
        found = among[at]
        place = np.searchsorted(self.keys, found)
        hit = np.flatnonzero(self.keys.take(place, mode="clip") == found) if len(self.keys) else at[:0]
        return at[hit], place[hit]
