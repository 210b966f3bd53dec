"""Playing: who chooses moves (``player``) and where one plays them (``terminal``)."""
