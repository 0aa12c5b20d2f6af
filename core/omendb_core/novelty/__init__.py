"""Whether what is added is new: its best row among those that were there before it."""
