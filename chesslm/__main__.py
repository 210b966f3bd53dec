"""``python -m chesslm`` is the ``chesslm`` command."""

from chesslm.cli import main

if __name__ == "__main__":
    main()
