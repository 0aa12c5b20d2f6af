"""What GET requests are answered."""
