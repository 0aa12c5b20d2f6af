"""Messages that another node of the cluster answers: passed on as they are, and back."""
