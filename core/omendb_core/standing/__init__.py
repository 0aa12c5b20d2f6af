"""Standing queries: what each answers now, kept by matching what changed."""
