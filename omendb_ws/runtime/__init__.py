"""What the process stands on: event loops, limits of the system, faults, paces, logs, line files,
byte transports, resets."""
