"""The games that come with the repository."""

from pathlib import Path

from chesslm.errors import InputError


def bundled(pattern: str) -> list[Path]:
    """Files of games/, in the working folder or beside the package.

    Raises:
        InputError: there are none.
    """
    for root in (Path("games"), Path(__file__).parents[1] / "games"):
        if found := sorted(root.glob(pattern)):
            return found
    raise InputError(f"no bundled games (games/{pattern}); run this from a clone of the repository")
