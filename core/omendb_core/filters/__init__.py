"""Filters: parsed, printed in one form, evaluated over columns, their masks kept."""
