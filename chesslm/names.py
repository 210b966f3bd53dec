"""What suites and metrics are called in tables, and what their figures have to be read beside."""

from dataclasses import dataclass
from typing import Any

TITLES = {
    "legality": "Legality",
    "squares": "Square prompts",
    "selfplay": "Free running",
    "rules": "The rules exam",
    "mate-in-one": "Mate in one",
    "puzzles": "Puzzles",
    "sinks": "Loss sinks",
    "world-model": "World model",
    "translation": "Translation",
    "probe": "The board inside",
    "attention": "Attention to a piece's moves",
    "tracking": "Why moves are illegal",
    "edits": "The board edited",
    "patching": "Patching",
}
ON_RANDOM_GAMES = "-random"
"""What the name of a suite ends in when it was measured on random games."""


@dataclass(frozen=True)
class About:
    """How a metric is shown.

    Attributes:
        label: what to call it.
        unit: rate, bits, plies or count.
        meaning: one line for a newcomer.
    """

    label: str
    unit: str
    meaning: str


METRICS = {
    "legal_argmax": About("Legal moves", "rate", "positions in which the likeliest move is legal"),
    "fully_legal_games": About("Fully legal games", "rate", "games in which it is legal at every ply"),
    "first_illegal_ply": About("First illegal ply", "plies", "when the first illegal one comes, in games with one"),
    "legal_mass": About("Legal mass", "rate", "probability that it gives to all legal moves together"),
    "r_precision": About("R-precision", "rate", "legal moves among its k likeliest, where k moves are legal"),
    "top1": About("Top 1", "rate", "positions in which its likeliest move was the one played"),
    "top3": About("Top 3", "rate", "the same for its three likeliest"),
    "bits_per_move": About("Bits a move", "bits", "surprise at the move played; less is better"),
    "legality_bits": About("… of which legality", "bits", "lost to moves that are not legal"),
    "choice_bits": About("… of which choice", "bits", "lost among the legal moves"),
    "end_mass": About("End mass", "rate", "probability that the game ends where it went on; taken out above"),
    "end_actual_legal": About("End square legal", "rate", "legal end squares for the piece that was moved"),
    "end_actual_r_precision": About("… R-precision", "rate", "legal ones among the k likeliest"),
    "end_actual_exact": About("… exact", "rate", "the end square of the game"),
    "end_other_legal": About("Other end square legal", "rate", "the same for another piece that can move"),
    "end_other_r_precision": About("… other R-precision", "rate", "legal ones among the k likeliest"),
    "start_actual_legal": About("Start square legal", "rate", "start squares for the type of piece that was moved"),
    "start_actual_r_precision": About("… start R-precision", "rate", "legal ones among the k likeliest"),
    "start_actual_exact": About("… start exact", "rate", "the start square of the game"),
    "start_other_legal": About("Other start square legal", "rate", "the same for another type of piece"),
    "start_other_r_precision": About("… other start R-precision", "rate", "legal ones among the k likeliest"),
    "plies_to_illegal": About(
        "Plies to illegal move", "plies", "legal plies written alone, up to the first illegal one"
    ),
    "plies_to_illegal_median": About("… median", "plies", "plies after which half of the games had one"),
    "unique_at_ply_20": About("Different at ply 20", "rate", "sampled games that no other is like by then"),
    "exam_legal_argmax": About("Exam: legal moves", "rate", "likeliest move legal, the mean over the exam's items"),
    "exam_legal_mass": About("Exam: legal mass", "rate", "probability on legal moves, the mean over the items"),
    "refusal_p_forbidden": About("Exam: forbidden move", "rate", "probability given to the move that is forbidden"),
    "refusal_p_allowed": About("… where it is allowed", "rate", "probability given to the same move where it is legal"),
    "p_move": About("Move asked about", "rate", "probability given to it, where it is legal"),
    "p_forbidden": About("Forbidden move", "rate", "probability given to it"),
    "p_allowed": About("… where it is allowed", "rate", "probability given to the same move where it is legal"),
    "eos_mass": About("The end seen", "rate", "probability of the end once the game is over"),
    "eos_mass_before": About("… a move before", "rate", "the same while it still goes on"),
    "ended_eos_mass": About("Exam: the end seen", "rate", "probability of the end after mate and stalemate"),
    "solved_greedy": About("Solved", "rate", "its likeliest move is a solution"),
    "solved_legal_policy": About("Solved by the rules", "rate", "its likeliest legal move is a solution"),
    "solved_chance": About("… by chance", "rate", "legal moves that are solutions"),
    "mate_mass": About("Mate mass", "rate", "probability on moves that mate"),
    "solution_mass": About("Solution mass", "rate", "probability on the solutions"),
    "token_bits": About("Bits a token", "bits", "surprise at a token of a move, over all of them"),
    "board_tokens": About("Board-determined tokens", "rate", "tokens that only the board determines"),
    "board_loss": About("… of the loss", "rate", "bits that are lost at them"),
    "board_bits": About("… bits a token", "bits", "surprise at one of them; nothing, for who knows the board"),
    "board_top1": About("… found", "rate", "of them that it finds likeliest"),
    "syntax_tokens": About("Syntax-determined tokens", "rate", "tokens that the notation alone determines"),
    "syntax_loss": About("… of the loss", "rate", "bits that are lost at them"),
    "syntax_bits": About("… bits a token", "bits", "surprise at one of them"),
    "syntax_top1": About("… found", "rate", "of them that it finds likeliest"),
    "free_tokens": About("Free tokens", "rate", "tokens at which several go on with a legal move"),
    "free_loss": About("… of the loss", "rate", "bits that are lost at them"),
    "free_bits": About("… bits a token", "bits", "surprise at one of them"),
    "free_legality_bits": About("… of which legality", "bits", "lost to tokens that go on with no legal move"),
    "free_top1": About("… found", "rate", "of them that it finds likeliest"),
    "forced_tokens": About("Tokens of forced moves", "rate", "tokens of the only legal move of a position"),
    "forced_loss": About("… of the loss", "rate", "bits that are lost at them"),
    "forced_bits": About("… bits a token", "bits", "surprise at one of them"),
    "forced_top1": About("… found", "rate", "of them that it finds likeliest"),
    "role_tokens": About("Share of tokens", "rate", "of all tokens of moves"),
    "role_loss": About("Share of the loss", "rate", "of the bits of all tokens of moves"),
    "compression": About("Compression", "rate", "orders to one position after which it accepts the same"),
    "compression_overlap": About("… overlap", "rate", "of the moves accepted after either, those accepted after both"),
    "distinction_precision": About("Distinction: precision", "rate", "moves by which it rightly tells positions apart"),
    "distinction_recall": About("… recall", "rate", "moves that tell them apart, of which it accepts one side alone"),
    "divergence_swapped": About("Divergence, same position", "bits", "between its moves after two orders made alike"),
    "divergence_mined": About("… in two games", "bits", "the same where two games meet"),
    "divergence_near": About("… one piece elsewhere", "bits", "between positions that differ in one piece"),
    "divergence_unrelated": About("… unrelated", "bits", "between positions of different games"),
    "divergence": About("Divergence", "bits", "Jensen and Shannon's, between its moves in both; at most 1"),
    "exact": About("Exactly right", "rate", "targets that it writes right from beginning to end"),
    "moves_right": About("Moves right", "rate", "single moves of the target that it writes in their place"),
    "set_f1": About("Set of moves: F1", "rate", "harmonic mean of the next two, position by position"),
    "set_precision": About("… precision", "rate", "moves that it lists and that are legal"),
    "set_recall": About("… recall", "rate", "legal moves that it lists"),
    "bits_per_target": About("Bits a target", "bits", "surprise at the whole target; less is better"),
    "floor_bits": About("… floor", "bits", "of which the choice of words, which nothing decides"),
    "bits_per_target_token": About("Bits a token", "bits", "the same, a token of the target"),
    "pairs_beyond_context": About("Pairs beyond context", "count", "too long for its memory; counted as wrong"),
    "share": About("Share", "rate", ""),
    "plies_beyond_context": About("Plies beyond context", "count", "too late for its memory; counted as missed"),
    "piece_accuracy": About("Squares found", "rate", "squares on which the probe finds what stands there"),
    "piece_accuracy_nonempty": About("… not empty", "rate", "those with a piece on them"),
    "board_exact": About("Boards found", "rate", "positions in which it finds all 64"),
    "control_random_weights": About("Squares: random weights", "rate", "the same in a model that has learned nothing"),
    "control_embeddings": About("… embeddings", "rate", "the same from the last token and its place alone"),
    "control_majority": About("… by ply", "rate", "what stands there most often after so many plies"),
    "control_shuffled": About("… shuffled labels", "rate", "the probe fitted on the boards of other positions"),
    "piece_accuracy_absolute": About("Squares: White, Black", "rate", "asked for colours instead of mine and yours"),
    "piece_accuracy_nonempty_absolute": About("… not empty", "rate", "those with a piece on them"),
    "board_exact_absolute": About("… boards", "rate", "positions in which it finds all 64"),
    "side_auc": About("Side to move", "", "area under the ROC curve; 0.5 is chance"),
    "castling_auc": About("Castling rights", "", "of the side to move and the other; likewise"),
    "castling_absolute_auc": About("… White, Black", "", "of White and of Black; likewise"),
    "en_passant_auc": About("En passant possible", "", "likewise"),
    "check_auc": About("Check", "", "likewise"),
    "repetition_auc": About("Position repeated", "", "likewise"),
    "material_r2": About("Material", "", "share of its variance explained"),
    "white_elo_r2": About("Elo of White", "", "likewise"),
    "black_elo_r2": About("Elo of Black", "", "likewise"),
    "attention_lift": About("Attention to the same piece", "", "of the head that follows pieces most; 1 is chance"),
    "attention_lift_random_weights": About("… random weights", "", "the same in a model that has learned nothing"),
    "allowed_believed": About("Legal on the believed board", "rate", "illegal moves that the board inside allows"),
    "allowed_moved": About("… on one of another game", "rate", "with as many errors, those of another position"),
    "allowed_scattered": About("… on a random one", "rate", "with as many errors, anywhere"),
    "allowed_legal": About("Legal moves on it", "rate", "legal moves that the board inside allows"),
    **{
        f"{kind}_edited_argmax{ending}": About(label, "rate", meaning)
        for kind, name in (("erase", "Piece erased"), ("move", "Piece moved"), ("swap", "Piece swapped"))
        for ending, label, meaning in (
            ("", name, "likeliest move legal on the board as edited"),
            ("_unedited", "… unedited", "the same of a model left alone"),
            ("_other", "… another square", "the same change as much of another square"),
            ("_random", "… random direction", "a push as long in any direction"),
        )
    },
    "edited_argmax": About("Legal as edited", "rate", "likeliest move legal on the board as edited"),
    "edited_mass": About("… mass", "rate", "probability on moves that are legal there"),
    "true_argmax": About("Legal as played", "rate", "likeliest move legal on the board as it is"),
    "true_mass": About("… mass", "rate", "probability on moves that are legal there"),
    "edit_dose": About("Dose", "", "of the edit; with 1 the probe's scores are those of the new answer"),
    "edit_first_layer": About("First layer edited", "count", "the dose and the layers are chosen on other games"),
    "edit_last_layer": About("Last layer edited", "count", "likewise"),
    "patched_source_argmax": About("Legal where the patch is from", "rate", "likeliest move, one piece elsewhere"),
    "patched_source_argmax_unpatched": About("… unpatched", "rate", "the same without the patch"),
    "patched_source_mass": About("… mass", "rate", "probability on moves that are legal there"),
    "patched_source_mass_unpatched": About("… mass, unpatched", "rate", "the same without the patch"),
    "patched_divergence": About("Divergence, same position", "bits", "from another move order, patched from there"),
    "patched_divergence_unpatched": About("… unpatched", "bits", "the same without the patch"),
}
"""The metrics of the suites, in the order of the table; others follow under their own names."""
BESIDE = {
    "solved_greedy": ("solved_chance", "by chance"),
    "solved_legal_policy": ("solved_chance", "by chance"),
    "refusal_p_forbidden": ("refusal_p_allowed", "where it is allowed"),
    "p_forbidden": ("p_allowed", "where it is allowed"),
    "eos_mass": ("eos_mass_before", "a move before"),
    **{
        f"{what}_{figure}": (f"{what}_chance_{figure}", "by chance")
        for what in ("end_actual", "end_other", "start_actual", "start_other")
        for figure in ("legal", "r_precision", "exact")
    },
    "allowed_believed": ("allowed_moved", "on one of another game"),
    **{
        f"{kind}_edited_argmax": (f"{kind}_edited_argmax_other", "another square") for kind in ("erase", "move", "swap")
    },
    "patched_source_argmax": ("patched_source_argmax_unpatched", "unpatched"),
    "patched_source_mass": ("patched_source_mass_unpatched", "unpatched"),
}
"""What a figure has to be read beside: that figure's key, and what to say of it."""
NOTES = {
    ("squares", "uci-move"): "whole-move tokens: only squares that some piece could reach can be answered, so these "
    "figures do not compare with those of square tokens; read them beside their chance level"
}
"""What has to be said of a suite's figures in a notation."""


def note(suite: str, notation: Any) -> str | None:
    """What has to be said of a result's figures, if anything."""
    return NOTES.get((suite.removesuffix(ON_RANDOM_GAMES), str(notation)))


def suite_title(suite: str) -> str:
    """A suite in words."""
    plain = suite.removesuffix(ON_RANDOM_GAMES)
    return TITLES.get(plain, plain) + (" on random games" if plain != suite else "")


def about_metric(key: str) -> About:
    """How a metric is shown; one that is not known goes by its own name."""
    if "_chance_" in key:
        return About("… by chance", "rate", "any square alike")
    return METRICS.get(key) or About(key.replace("_", " "), "", "")


def place(key: str) -> tuple[int, str]:
    """Where a metric stands in a table, for sorting; a level of chance behind what it is the chance of."""
    known = key.replace("_chance_", "_")
    return (list(METRICS).index(known), "_chance_" * (known != key)) if known in METRICS else (len(METRICS), key)
