"""Changes: whose is next, what is pending in a log, what comes and goes."""
