"""The tokens that moves are made of: what board and notation leave open at each of them, and what a scorer says there.

Games as tokens with the spellings of their legal moves in, flat arrays over all tokens of moves (R, game by game) out;
then a scorer's bits at each of them, from the games' own forward pass (docs/metrics.md, Loss sinks).

    1 . N b d 2 _ ...    only Nbd2 can begin with Nb
          f b d d s      N free; b free; d, 2 and the space behind the move (not +, not #) determined by the board

Where a move may be over without a token that says so (``e7 e8`` without a promotion letter, `` Qh5`` in ``text``), that
none of the tokens by which it could go on follows is one more choice. It counts as a token, ``END``: so the bits of the
tokens of a move always add up to those of the move.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chesslm.eval.moves import BATCH_LOGITS, Progress, batch_tokens
from chesslm.eval.ranking import EQUAL
from chesslm.eval.scorers import Scorer, batches, chain
from chesslm.forks import Begun, Floats, Forks, log_softmax, logsumexp
from chesslm.notation import Notation, Tokens
from chesslm.tokenizer import GameTokenizer, Role, TokenizedGame
from chesslm.words import geometric_moves, geometric_sans

CLASSES = ("board", "syntax", "free")
BOARD, SYNTAX, FREE = range(len(CLASSES))
END = -1
"""The token that says that a move is over, where the vocabulary has none."""

WHOLE, ENDS = "whole move", "end of the move"
ROLES = (
    *(WHOLE, "start square", "end square", "piece", "origin", "capture", "file", "rank", "promotion", "castling"),
    *("check", ENDS),
)
"""What a token can say of its move."""
SAN = re.compile(
    r"(?P<castling>O-O(?:-O)?)?(?P<piece>[NBRQK])?(?P<origin>[a-h]?[1-8]?(?=x?[a-h][1-8]))?(?P<capture>x)?"
    r"(?P<file>[a-h])?(?P<rank>[1-8])?(?P<promotion>=[QRBN])?(?P<check>[+#])?"
)


@dataclass(frozen=True)
class MoveTokens:
    """The tokens of the moves of some games; arrays and lists of one length, R.

    Attributes:
        game: index of its game.
        at: its place in the game, whose scores are those after the token before it.
        last: the place of the last token of its move.
        token: its id, or ``END``.
        kind: index into ``CLASSES``.
        role: what it says of its move, one of ``ROLES``.
        forced: whether its move was the only legal one.
        begun: the move as far as it was written.
        before: the move before that one, as in ``Forks.moves_before``.
        legal: the tokens that would have gone on with a legal move, ``END`` among them.
    """

    game: NDArray[np.int64]
    at: NDArray[np.int64]
    last: NDArray[np.int64]
    token: NDArray[np.int64]
    kind: NDArray[np.int64]
    role: NDArray[np.str_]
    forced: NDArray[np.bool_]
    begun: Sequence[Begun]
    before: Sequence[Begun]
    legal: Sequence[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.token)

    @cached_property
    def begins(self) -> NDArray[np.bool_]:
        """Whether its move begins with it."""
        return np.array([not begun for begun in self.begun])


@dataclass(frozen=True)
class TokenScores:
    """What a scorer makes of each token, (R,); past the context the figures are not a number.

    Attributes:
        within: whether its move lies within the context.
        bits: -log2 of its probability among the tokens that may follow.
        legality_bits: -log2 of that of all tokens that would have gone on with a legal move.
        top1: whether it is (among) the likeliest.
    """

    within: NDArray[np.bool_]
    bits: Floats
    legality_bits: Floats
    top1: Floats


def find_tokens(forks: Forks, games: Sequence[TokenizedGame], legal: Iterable[Sequence[Begun]]) -> MoveTokens:
    """The tokens of the moves of games.

    Args:
        forks: of their notation.
        games: without hints.
        legal: the spellings of the legal moves at each ply, game after game.
    """
    tokenizer, ways = forks.tokenizer, ways_on(forks.tokenizer)
    at_plies = iter(legal)
    rows: list[tuple[int, int, int, int, int, str, bool, Begun, Begun, tuple[int, ...]]] = []
    names: dict[Begun, list[str]] = {}
    for number, game in enumerate(games):
        ids = game.ids.tolist()
        spans = zip(
            *(np.flatnonzero(game.role & bit).tolist() for bit in (Role.MOVE_BEGINS, Role.MOVE_ENDS)), strict=True
        )
        for (first, last), before in zip(spans, forks.moves_before(game), strict=False):
            move, spelled = tuple(ids[first : last + 1]), next(at_plies)
            if move not in names:
                names[move] = roles(tokenizer.notation, forks.tokens(move))
            can_end = forks[move].ends and forks[move].goes_on.any()
            alive = spelled
            for n, token in enumerate((*move, END) if can_end else move):
                begun = move[:n]
                going = tuple({each[n] if len(each) > n else END for each in alive})
                kind = SYNTAX if ways[begun] == 1 else BOARD if len(going) == 1 else FREE
                role = names[move][n] if n < len(move) else ENDS
                rows.append((number, first + n, last, token, kind, role, len(spelled) == 1, begun, before, going))
                alive = [each for each in alive if len(each) > n and each[n] == token]
    game, at, last, token, kind, role, forced, begun, before, going = zip(*rows, strict=True)
    return MoveTokens(
        *(np.array(game, np.int64), np.array(at, np.int64), np.array(last, np.int64), np.array(token, np.int64)),
        *(np.array(kind, np.int64), np.array(role), np.array(forced)),
        *(begun, before, going),
    )


def ways_on(tokenizer: GameTokenizer) -> Counter[Begun]:
    """In how many ways the moves of a notation go on after each beginning of one, all as they are spelled.

    That a move is over is one of them. Other cuts of the same text (`` Nf 3`` for `` N f3``) are not: a token that the
    tokenizer would never write there is no move of the notation, legal or not.
    """
    every = geometric_sans() if tokenizer.notation.reads_board else geometric_moves()
    spelled = {tokenizer.spell_word(word) for word in every}
    begun = {move[:n] for move in spelled for n in range(1, len(move) + 1)}
    return Counter(move[:-1] for move in begun) + Counter(spelled)


def roles(notation: Notation, tokens: Tokens) -> list[str]:
    """What each token of a move says of it: that of its first character; ``WHOLE`` where it says everything."""
    word, text = notation.join(tokens), "".join(tokens)
    named, start = _parts(word, notation.reads_board), text.index(word)
    found: list[str] = []
    place = 0
    for token in tokens:
        stop = place + len(token)
        is_whole = place <= start and stop >= start + len(word)
        says = max(place - start, 0)
        found.append(WHOLE if is_whole else named[says] if says < len(word) else ENDS)
        place = stop
    return found


def _parts(word: str, in_san: bool) -> list[str]:
    """What each character of a word says; the first one of SAN, also a pawn's file, says which piece moves."""
    if not in_san:
        return [*["start square"] * 2, *["end square"] * 2, *["promotion"] * (len(word) - 4)]
    match = SAN.fullmatch(word)
    assert match, word
    return ["piece", *[name for name, text in match.groupdict("").items() for _ in text][1:]]


def score_tokens(
    scorer: Scorer, games: Sequence[TokenizedGame], tokens: MoveTokens, advance: Progress = lambda _: None
) -> TokenScores:
    """Score the tokens of moves, in one forward pass a batch of games.

    Args:
        scorer: of the notation in which they are written.
        games: those of the tokens.
        tokens: of their moves.
        advance: told of games done.
    """
    forks = Forks(scorer.tokenizer)
    # A model is not trained to say what follows the last token of its context.
    scores = TokenScores(tokens.last < scorer.context, *(np.full(len(tokens), np.nan) for _ in range(3)))
    spans = np.searchsorted(tokens.game, np.arange(len(games) + 1))
    some = max(1, BATCH_LOGITS // len(scorer.tokenizer))
    for batch in batches([len(game) for game in games], batch_tokens(scorer)):
        logits_BTV = scorer.logits([chain(games[i].ids[: scorer.context]) for i in batch]).cpu().numpy()
        for i, logits_TV in zip(batch, logits_BTV, strict=True):
            rows = np.arange(*spans[i : i + 2])
            rows = rows[scores.within[rows]]
            for start in range(0, len(rows), some):
                _score(scores, forks, tokens, rows[start : start + some], logits_TV)
        advance(len(batch))
    return scores


def _score(
    scores: TokenScores, forks: Forks, tokens: MoveTokens, rows: NDArray[np.int64], logits_TV: NDArray[np.float32]
) -> None:
    """Fill in the scores of some tokens of one game, given its next-token scores."""
    # The last column is END: all that does not go on with a move that may be over.
    scores_NV = np.full((len(rows), logits_TV.shape[1] + 1), -np.inf)
    for out, row in zip(scores_NV, rows.tolist(), strict=True):
        begun, fork = tokens.begun[row], forks[tokens.begun[row]]
        left = forks.may_follow(logits_TV[tokens.at[row] - 1], begun, tokens.before[row])
        if fork.ends:
            out[-1] = logsumexp(forks.given_over(left, begun).astype(np.float64))[0]
            going = forks.of_moves[fork.goes_on]
            out[going] = left[going]
        else:
            out[:-1] = left
    log_p_NV = log_softmax(scores_NV)
    number, token = np.arange(len(rows)), tokens.token[rows]
    likeliest = log_p_NV >= log_p_NV.max(1, keepdims=True) - EQUAL
    legal = [tokens.legal[row] for row in rows.tolist()]
    of_legal = np.repeat(number, [len(each) for each in legal]), np.concatenate(legal)
    mass = np.bincount(of_legal[0], np.exp(log_p_NV[of_legal]), len(rows))
    with np.errstate(divide="ignore"):
        scores.legality_bits[rows] = -np.log2(np.minimum(mass, 1))
    scores.bits[rows] = log_p_NV[number, token] / -np.log(2)
    scores.top1[rows] = likeliest[number, token] / likeliest.sum(1)
