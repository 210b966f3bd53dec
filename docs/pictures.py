"""The pictures in the README: the browser page and the terminal, taken of the real thing.

    python docs/pictures.py checkpoints/chesslm-small

A bundled game is pasted into the page, and resumed in the terminal. Needs chromium and tmux (``make tools``), and a
model with a probe (``chesslm probe``).
"""

import argparse
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import chess
from playwright.sync_api import Browser, expect, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from chesslm import boards
from chesslm.eval.games import sample_games
from chesslm.inside import probe

ROOT = Path(__file__).parents[1]
GAMES = ROOT / "games" / "bundle-engine.pgn.zst"
PLIES = {"page": 44, "terminal": 22}
"""Of the game, that are shown."""
WIDE, HIGH = 80, 24
SECONDS = 60
"""That anything may take to appear."""
COLORS = MONOKAI
STYLE = (
    f"<style>body {{ margin: 0; background: {COLORS.background_color.hex}; color: {COLORS.foreground_color.hex} }}"
    "pre { margin: 12px; font: 15px 'DejaVu Sans Mono', monospace; width: max-content }</style>"
)


def main() -> None:
    """Take both."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("model", help="checkpoint folder with a probe")
    asked.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    options = asked.parse_args()
    if probe.load(Path(options.model)) is None:
        asked.error(f"{options.model} has no probe; make one with chesslm probe")
    options.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        moves = boards.to_moves(sample_games(str(GAMES), 1, 1, pool).codes[0])
    chromium = shutil.which("chromium")
    # Chromium as root, as in a container, has no sandbox.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        picture_page(browser, options.model, moves[: PLIES["page"]], options.out / "page.png")
        picture_terminal(browser, options.model, moves[: PLIES["terminal"]], options.out / "terminal.png")
        browser.close()


def picture_page(browser: Browser, model: str, moves: list[chess.Move], out: Path) -> None:
    """The page after a game was pasted into it."""
    with serving(model) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 760})
        page.goto(url)
        expect(page.locator("#status")).to_contain_text("Your move", timeout=1000 * SECONDS)
        page.locator("summary").click()
        page.locator("#pgn").fill(chess.Board().variation_san(moves))
        page.get_by_role("button", name="Follow").click()
        expect(page.locator("#moves button")).to_have_count(len(moves), timeout=1000 * SECONDS)
        page.get_by_role("button", name="To the last move").click()
        expect(page.locator("#belief-says")).to_contain_text("of 64 squares")
        page.locator("summary").click()
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=out)
        page.close()


@contextmanager
def serving(model: str) -> Iterator[str]:
    """``chesslm serve``; its address."""
    command = [sys.executable, "-m", "chesslm", "serve", model, "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            found = re.search(r"http://\S+", server.stdout.readline())
            if not found:
                sys.exit("chesslm serve did not start")
            yield found[0]
        finally:
            server.send_signal(signal.SIGINT)


def picture_terminal(browser: Browser, model: str, moves: list[chess.Move], out: Path) -> None:
    """The terminal in the middle of a game, after a hint."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "game.pgn").write_text(chess.Board().variation_san(moves) + " *\n")
        shown = Text.from_ansi(terminal(Path(folder), str(Path(model).absolute())))
    shown.rstrip()
    console = Console(record=True, width=WIDE, file=io.StringIO())
    console.print(shown, no_wrap=True)
    html = console.export_html(theme=COLORS, code_format="<pre>{code}</pre>", inline_styles=True)
    page = browser.new_page(device_scale_factor=1.5)
    page.set_content(STYLE + html)
    size = page.locator("pre").bounding_box()
    assert size
    page.set_viewport_size({"width": round(size["width"]) + 24, "height": round(size["height"]) + 24})
    page.screenshot(path=out)
    page.close()


def terminal(folder: Path, model: str) -> str:
    """What stands on the screen, with the codes of its colours."""
    tmux = ["tmux", "-u", "-S", str(folder / "tmux"), "-f", "/dev/null"]
    play = shlex.join([sys.executable, "-m", "chesslm", "play", model, "--device", "cpu", "--resume", "game.pgn"])
    shell = f"cd {shlex.quote(str(folder))}; env TERM=xterm-256color {play}"
    subprocess.run([*tmux, "new-session", "-d", "-x", str(WIDE), "-y", str(HIGH), "sh", "-c", shell], check=True)
    try:
        until(tmux, "Your move:")
        subprocess.run([*tmux, "send-keys", "hint", "Enter"], check=True)
        return until(tmux, "%")
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def until(tmux: list[str], text: str) -> str:
    """The screen as soon as it shows this."""
    end = time.monotonic() + SECONDS
    while True:
        done = subprocess.run([*tmux, "capture-pane", "-p", "-e", "-N"], capture_output=True, text=True, check=True)
        if text in done.stdout:
            return done.stdout
        if time.monotonic() > end:
            sys.exit(f"the terminal never showed {text!r}:\n{done.stdout}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
