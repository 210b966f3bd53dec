"""chesslm: train chess-move language models, measure what they know, play them."""

__version__ = "0.1.0"
