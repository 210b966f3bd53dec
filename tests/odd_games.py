"""PGN as people and programs really write it: every oddity that chess.pgn reads, mixed at random."""

import random

import chess

from chesslm.boards import MoveCodes, to_moves

JUNK = (
    "Round 3 was played in bad weather.\n",
    "-----\n\n=====\n",
    "% a line for other programs\n",
    "; a remark between the games\n",
    "   \n",
    "\ufeff",
    '[Broken "tag\n\n',
)
COMMENTS = (
    "{ [%clk 0:01:30] }",
    "{[%eval -1.25] [%clk 1:00:00.5]}",
    "{a comment\nof two lines}",
    '{with a blank line\n\n[Event "and a tag"]\n}',
    "{}",
    "{1. e4 { not nested; (nor a variation) 1-0}",
    "; to the end of the line {\n",
    "\n% escaped { line\n",
    "{\n[%csl Ra1]\n}\n",
    "{Müller – тест}",
)
SUFFIXES = ("", "", "", "!", "?", "!?", "??", "+", "#", "$1", " $14 $132", " e.p.", " !!")


def lively_game(seed: int, plies: int) -> MoveCodes:
    """Random legal moves that castle, promote, capture in passing, check and capture more often than chance."""
    draw = random.Random(seed)
    board = chess.Board()
    codes = []
    while len(codes) < plies and (legal := list(board.legal_moves)):
        special = [
            move
            for move in legal
            if move.promotion
            or board.is_castling(move)
            or board.is_en_passant(move)
            or (board.is_capture(move) and draw.random() < 0.2)
            or (board.piece_type_at(move.from_square) == chess.PAWN and draw.random() < 0.1)
        ]
        move = draw.choice(special if special and draw.random() < 0.7 else legal)
        codes.append(move)
        board.push(move)
    from chesslm.boards import to_codes

    return to_codes(codes)


def odd_pgn(seed: int, games: list[MoveCodes]) -> str:
    """Each game written in a way of its own; the last one is ordinary, so that the text has a clear end."""
    draw = random.Random(seed)
    texts = [_odd_game(draw, codes) for codes in games[:-1]]
    ordinary = f'[Event "last"]\n[Result "*"]\n\n{" ".join(_tokens(games[-1]))} *\n\n'
    return "".join([*texts, ordinary])


def _tokens(codes: MoveCodes) -> list[str]:
    board = chess.Board()
    return [board.san_and_push(move) for move in to_moves(codes)]


def _odd_game(draw: random.Random, codes: MoveCodes) -> str:
    result = draw.choice(("1-0", "0-1", "1/2-1/2", "*"))
    text = _tags(draw, result) + _movetext(draw, codes)
    if draw.random() < 0.9:
        text += draw.choice((" ", "\n")) + result
    if draw.random() < 0.1:
        text += draw.choice(COMMENTS)
    text += "\n" * draw.choice((2, 2, 2, 3))
    if draw.random() < 0.1:
        text += draw.choice(JUNK) + draw.choice(("", "\n"))
    return text


def _tags(draw: random.Random, result: str) -> str:
    lines = ['[Event "Open \\"A\\" {x"]' if draw.random() < 0.05 else '[Event "Open"]', '[Site "?"]', '[White "Señor"]']
    lines += [f'[Result "{result}"]'] * (draw.random() < 0.8) + ['[WhiteElo "2100"]'] * (draw.random() < 0.5)
    for odd, chance in (
        ('[FEN "8/8/8/8/8/8/8/K1k5 w - - 0 1"]', 0.02),
        ('[FEN "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"]', 0.02),
        ('[FEN "nonsense"]', 0.01),
        ('[Variant "Atomic"]', 0.02),
        ('[Variant "Standard"]', 0.02),
        ('[Variant "no such"]', 0.01),
        ("[Broken]", 0.02),
        ('[Result "1/2"]', 0.02),
        ("% escaped", 0.02),
        ("", 0.02),
        ('[Opening\t"tabbed" ]', 0.02),
    ):
        if draw.random() < chance:
            lines.insert(draw.randrange(len(lines) + 1), odd)
    if draw.random() < 0.05:
        return ""
    return "\n".join(lines) + draw.choice(("\n\n",) * 12 + ("\n", "\n\n\n", "\n \n"))


def _movetext(draw: random.Random, codes: MoveCodes) -> str:
    """Plain, or with comments, or with anything."""
    board = chess.Board()
    style = draw.choice(("plain", "plain", "comments", "anything", "anything"))
    numbers = draw.choice(("{n}.", "{n}. ", "{n}...", "{n} . ", ""))
    pieces = []
    for move in to_moves(codes):
        if board.turn or draw.random() < 0.1:
            pieces.append(numbers.format(n=board.fullmove_number))
        pieces.append(_spelled(draw, board, move) if style == "anything" else board.san(move))
        if style != "plain" and draw.random() < 0.2:
            pieces.append(draw.choice(("", " ")) + draw.choice(COMMENTS[:2] if style == "comments" else COMMENTS))
        if style == "anything":
            pieces.append(draw.choice(SUFFIXES))
            if draw.random() < 0.05:
                pieces.append(" " + _variation(draw, board, move))
            if draw.random() < 0.003:
                pieces.append(draw.choice((" Ke5", " --", " Qxh8", " e9", " Z0", " 1-0", " (", " @@@@")))
        pieces.append(draw.choice((" ",) * 8 + ("\n", "  ", " \n", "\t")))
        board.push(move)
    return "".join(pieces)


def _spelled(draw: random.Random, board: chess.Board, move: chess.Move) -> str:
    san = board.san(move)
    match draw.randrange(12):
        case 0:
            return move.uci()
        case 1 if not board.is_castling(move):
            return board.lan(move)
        case 2:
            return san.replace("O", "0")
        case 3:
            return san.replace("=", "").replace("x", "")
        case 4:
            return san.rstrip("+#")
    return san


def _variation(draw: random.Random, board: chess.Board, played: chess.Move, depth: int = 0) -> str:
    """An alternative to a move, some plies long, legal most of the time."""
    board = board.copy()
    words = []
    for _ in range(draw.randint(1, 4)):
        legal = list(board.legal_moves)
        if not legal:
            break
        move = draw.choice(legal)
        words.append(board.san(move))
        if depth < 2 and draw.random() < 0.2:
            words.append(_variation(draw, board, move, depth + 1))
        if draw.random() < 0.2:
            words.append(draw.choice(COMMENTS))
        board.push(move)
    if draw.random() < 0.03:
        words.append(draw.choice(("Ke5", "--", "1-0")))
    return "(" + " ".join(words) + ")"
