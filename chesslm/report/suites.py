"""What the report shows of each suite: the question in words, its charts and its breakdowns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chesslm.names import METRICS
from chesslm.report import curves
from chesslm.report.blocks import Block, all_rows, block, by_group, table
from chesslm.report.curves import CALIBRATION, MAIN, PLY, Figure
from chesslm.report.results import Column, Objects, groups_of, metrics_of

KINDS, ENDING = "illegal", "ending"
MOVES, PLIES = ("move", "moves"), ("ply", "plies")
GAMES, POSITIONS = ("game", "games"), ("position", "positions")
TOKENS, ALL_TOKENS = ("token", "tokens"), ("token in all", "tokens in all")
PAIRS, SQUARES = ("pair", "pairs"), ("square", "squares")
BREAKDOWNS = {
    "source": "By source of the games",
    "phase": "By phase of the game",
    "novel": "By whether a training game had the position",
    "check": "By whether the king is in check",
    "special": "Special moves and positions",
    "piece": "By piece moved",
    "legal_moves": "By number of legal moves",
    "mates": "By number of mating moves",
    "played": "By whether the game went on with a solution",
}
WRONG = "What is wrong with the illegal moves"


@dataclass(frozen=True)
class Suite:
    """How a suite is shown: what is asked, its charts and its breakdowns."""

    words: str
    figures: Callable[[Sequence[Column], Objects], Iterator[Figure]]
    blocks: Callable[[Objects], Iterator[Block]]
    figures_words: str = ""


def _legality(by: Objects) -> Iterator[Block]:
    shares = [by_group(KINDS, WRONG, by, "share", MOVES)]
    yield block(WRONG, "", shares, scaled=True)
    names = dict.fromkeys([*BREAKDOWNS, *(name for each in by for name in each)])
    parts = [by_group(name, _title(name), by, MAIN, PLIES) for name in names if name not in (PLY, KINDS, CALIBRATION)]
    yield block("Legal moves, by kind of position", "", parts)


def _title(name: str) -> str:
    return BREAKDOWNS.get(name, f"By {name.replace('_', ' ')}")


def _squares(by: Objects) -> Iterator[Block]:
    parts = []
    for group in groups_of("prefix", by):
        metrics = [metrics_of(each, "prefix", group) for each in by]
        parts.append(table(str(group).capitalize(), all_rows(metrics)))
    yield block(
        "By length of the prefix", "In plies. The longer the prefix, the more there is to keep track of.", parts
    )


def _selfplay(by: Objects) -> Iterator[Block]:
    yield block("By setting: games legal to their end", "", [by_group("setting", "", by, "fully_legal_games", GAMES)])
    lengths = by_group("setting", "", by, "plies_to_illegal", GAMES)
    yield block("By setting: legal plies before the first illegal move", "", [lengths])
    for base, title in ((ENDING, "How its games end"), (KINDS, WRONG)):
        headline = by_group(base, "", by, "share", GAMES)
        yield block(title, "Greedy play after 10 random plies.", [headline], scaled=True)
        names = dict.fromkeys(name for each in by for name in each if name.startswith(f"{base} "))
        parts = [by_group(name, name.removeprefix(f"{base} ").capitalize(), by, "share", GAMES) for name in names]
        yield block(f"{title}, in every setting", "", parts, scaled=True, folded=True)


def _rules(by: Objects) -> Iterator[Block]:
    yield block("Likeliest move legal, item by item", "", [by_group("item", "", by, MAIN, POSITIONS)])
    yield block(
        "The forbidden move",
        "Probability given to a move that one thing forbids. The mark is the same move where it is allowed: a player "
        "who has the habit and not the rule gives both alike.",
        [by_group("item", "", by, "p_forbidden", POSITIONS)],
        scaled=True,
    )
    yield block(
        "The allowed move",
        "Probability given to the move that the item is about; for ways out of check, to all of that kind.",
        [by_group("item", "", by, "p_move", POSITIONS)],
        scaled=True,
    )
    yield block(
        "The game is over",
        "Probability of the end after mate and stalemate. The mark is a move before, when the game went on.",
        [by_group("item", "", by, "eos_mass", GAMES)],
    )
    sources = ("given", "from the games given"), ("random", "from random games")
    yield block(
        "Likeliest move legal, by source of the positions",
        "",
        [by_group(f"item, {source}", words.capitalize(), by, MAIN, POSITIONS) for source, words in sources],
        folded=True,
    )


def _solved(by: Objects) -> Iterator[Block]:
    names = dict.fromkeys([*BREAKDOWNS, *(name for each in by for name in each)])
    titles = BREAKDOWNS | {"piece": "By piece that mates"}
    parts = [by_group(name, titles.get(name, _title(name)), by, "solved_greedy", POSITIONS) for name in names]
    yield block(
        "Solved, by kind of position", "The mark is the level of chance: any legal move alike.", parts, scaled=True
    )


def _sinks(by: Objects) -> Iterator[Block]:
    yield block(
        "Where the loss is",
        "By what a token says of its move, that is, what its first character does.",
        [
            by_group("role", "Share of the loss", by, "role_loss", ALL_TOKENS),
            by_group("role", "Share of the tokens", by, "role_tokens", ALL_TOKENS),
        ],
        scaled=True,
    )
    titles = {
        "board_bits": "Determined by the board",
        "free_bits": "Free",
        "free_legality_bits": "Free: lost to illegal moves",
    }
    yield block(
        "Bits a token",
        "What the board determines costs nothing once the board is known; of what is free, the choice remains.",
        [by_group("role", title, by, key, TOKENS) for key, title in titles.items()],
    )


def _world_model(by: Objects) -> Iterator[Block]:
    figures = {
        "compression": "Compression",
        "compression_overlap": "Compression: overlap",
        "distinction_precision": "Distinction: precision",
        "distinction_recall": "Distinction: recall",
    }
    yield block(
        "By epsilon",
        "A move is accepted that has this probability or more.",
        [by_group("epsilon", title, by, key, PAIRS) for key, title in figures.items()],
    )
    yield block("By kind of pair: divergence, in bits", "", [by_group("pairs", "", by, "divergence", PAIRS)])


def _translation(by: Objects) -> Iterator[Block]:
    yield block("Exactly right, by kind of pair", "", [by_group("kind", "", by, "exact", PAIRS)])
    yield block("Bits a target, by kind of pair", "", [by_group("kind", "", by, "bits_per_target", PAIRS)])


def _probe(by: Objects) -> Iterator[Block]:
    probes = [
        by_group("probe", title, by, key, counted)
        for title, key, counted in (
            ("Squares", "piece_accuracy", POSITIONS),
            ("Squares with a piece on them", "piece_accuracy_nonempty", SQUARES),
            ("Boards", "board_exact", POSITIONS),
        )
    ]
    yield block("By probe", "All at the best layer, that of random weights being their own.", probes)
    yield block("Squares found, by what stands there", "", [by_group("piece", "", by, "piece_accuracy", SQUARES)])
    facts = ("side", "castling", "check", "en_passant", "repetition")
    for name, words in (
        ("layer", "What else each layer knows"),
        ("layer, random weights", "… and with random weights"),
    ):
        parts = [by_group(name, METRICS[f"{fact}_auc"].label, by, f"{fact}_auc", POSITIONS) for fact in facts]
        numbers = ("material", "white_elo", "black_elo")
        parts += [by_group(name, METRICS[f"{fact}_r2"].label, by, f"{fact}_r2", POSITIONS) for fact in numbers]
        yield block(
            words, "Area under the ROC curve; of numbers, the share of their variance explained.", parts, folded=True
        )


def _attention(by: Objects) -> Iterator[Block]:
    yield block("Lift, head by head", "", [by_group("head", "", by, "attention_lift", PAIRS)], folded=True)


def _tracking(by: Objects) -> Iterator[Block]:
    boards = {
        "allowed_believed": "On the believed board",
        "allowed_moved": "On a board with the errors of another position",
        "allowed_scattered": "On a board with as many random errors",
    }
    for name, words in (
        ("illegal", "what is wrong with the illegal moves"),
        ("wrong squares", "by squares on which the believed board is wrong"),
        ("layer", "on the board believed in at each layer"),
    ):
        parts = [by_group(name, title, by, key, MOVES) for key, title in boards.items()]
        yield block(f"Would be legal: {words}", "", parts)


def _edits(by: Objects) -> Iterator[Block]:
    titles = {
        "edited_argmax": "Likeliest move legal on the edited board",
        "edited_mass": "Probability on moves that are legal there",
        "true_argmax": "Likeliest move legal on the board as it is",
        "true_mass": "Probability on moves that are legal there, as it is",
    }
    for kind, words in (("erase", "A piece erased"), ("move", "A piece moved"), ("swap", "A piece swapped")):
        yield block(words, "", [by_group(kind, title, by, key, POSITIONS) for key, title in titles.items()])


def _patching(by: Objects) -> Iterator[Block]:
    words = "Layer 0 is the embeddings; “none” is without a patch, and “source” the other game itself."
    divergence = {"divergence": "Divergence from the moves of the other game, in bits"}
    legal = {
        "source_argmax": "Likeliest move legal in the other game",
        "target_argmax": "Likeliest move legal in its own game",
    }
    for kind, title, titles in (
        ("near", "One piece elsewhere", legal | divergence),
        ("swapped", "Another move order to the same position", divergence),
    ):
        parts = [by_group(f"layer, {kind}", words_of, by, key, PAIRS) for key, words_of in titles.items()]
        yield block(f"{title}: by layer patched", words, parts)


def _no_figures(columns: Sequence[Column], by: Objects) -> Iterator[Figure]:
    yield from ()


RANDOM = "The same on games of uniformly random legal moves, where memory of openings and habits is of no use."
SUITES = {
    "legality": Suite(
        "How often is the move that it finds likeliest a legal one? Asked at every ply of every game, given the moves "
        "before it.",
        curves.of_legality,
        _legality,
    ),
    "squares": Suite(
        "Told the square that a piece starts from, does it know where that piece can go? Asked of the piece that was "
        "moved in the game, and of another one that could. Marks on the bars are the level of chance.",
        _no_figures,
        _squares,
    ),
    "selfplay": Suite(
        "Games that it writes alone, the moves of both sides, to the first illegal move or the end. Figures are of "
        "greedy play after 10 random plies; different games are counted in those sampled from the start.",
        curves.of_selfplay,
        _selfplay,
        "Share of games still legal after so many plies written; those of a random opening do not count. Kaplan and "
        "Meier's estimate: a game that ends by the rules, at 300 plies or with the context counts for as long as it "
        "lasts (it is censored). Bands are 95 % intervals. Greedy play from the start is one game and has no curve, "
        "nor has a model that never lasts 10 plies.",
    ),
    "rules": Suite(
        "Positions in which one rule decides, with the game that led there. Each item counts once.",
        _no_figures,
        _rules,
    ),
    "mate-in-one": Suite(
        "Positions in which the side to move can mate at once. Any mate counts. Marks on the bars are the level of "
        "chance.",
        _no_figures,
        _solved,
    ),
    "puzzles": Suite(
        "Positions in which an engine finds one move far better than all others. Marks on the bars are the level of "
        "chance.",
        _no_figures,
        _solved,
    ),
    "sinks": Suite(
        "Which tokens does it lose its bits at? At a token that the board determines, one alone goes on with a legal "
        "move, though the notation knows others: who knows the board and the rules loses nothing there. At a free one "
        "several do.",
        _no_figures,
        _sinks,
    ),
    "world-model": Suite(
        "Does one position mean the same, however it came about, and another one something else? After two orders of "
        "the same moves it should accept the same moves (compression); where one piece stands elsewhere it should "
        "accept other ones, those that the rules say (distinction).",
        _no_figures,
        _world_model,
    ),
    "translation": Suite(
        "It reads a game or a position in one language and writes it in another: UCI, SAN, FEN, English.",
        _no_figures,
        _translation,
    ),
    "probe": Suite(
        "Can the board be read out of what it computes after each move, square by square? Figures are those of the "
        "best layer, chosen on other games. A probe can also guess: the controls say how well.",
        curves.of_probe,
        _probe,
        "Layer 0 is the embeddings. Bands are 95 % intervals.",
    ),
    "attention": Suite(
        "Does it follow a piece through the game? Attention from a move to the earlier moves of the same piece, as a "
        "multiple of what moves of other pieces of that side get at the same distance, in the head where it was the "
        "greatest on other games.",
        _no_figures,
        _attention,
    ),
    "tracking": Suite(
        "Why is an illegal move illegal: has it lost track of the board, or does it know better? Wherever its "
        "likeliest move is illegal, the board that the probe finds inside is asked whether it would be legal there. A "
        "board with errors allows some by chance: beside it stand boards with as many errors of other kinds.",
        _no_figures,
        _tracking,
    ),
    "edits": Suite(
        "Does it use the board that the probe finds? The piece that it would move is erased, moved or swapped for "
        "another inside it, and the moves must follow. Marks are pushes as long, for the same change of another "
        "square.",
        curves.of_edits,
        _edits,
        "A dose of 1 makes the probe's scores those of the new answer. Bands are 95 % intervals.",
    ),
    "patching": Suite(
        "What it computed in one game is put into another at the last move: then it should play the other game.",
        _no_figures,
        _patching,
    ),
}
"""What a section shows; a suite that is not known is shown as ``legality`` is."""
