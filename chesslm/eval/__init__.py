"""Measuring what models know: one file a suite, each a function of a scorer and games that returns a Result."""
