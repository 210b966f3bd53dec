"""The report: results and a run's log in, one HTML page out. ``page`` puts it together, ``sections`` says what of."""
