"""Draw a digit: the nearest of the digits that stream by are found while you draw."""
