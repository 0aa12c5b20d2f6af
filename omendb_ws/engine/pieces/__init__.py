"""Work that is done in pieces, so that nothing holds the others up for long."""
