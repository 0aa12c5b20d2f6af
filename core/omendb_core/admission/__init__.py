"""From what a client asks to a change that says everything, or a typed refusal."""
