"""Who may come in: keys and what they allow, origins, how often."""
