"""What each tenant may use, and uses."""
