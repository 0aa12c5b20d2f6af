"""What all else speaks of: types, errors, changes, what a log holds, budgets of memory."""
