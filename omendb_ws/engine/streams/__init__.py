"""What is pushed: feeds, live and match queries, maps; and whose turn it is."""
