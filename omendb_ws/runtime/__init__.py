"""What the process stands on: event loops, limits of the system, faults, logs, byte transports."""
