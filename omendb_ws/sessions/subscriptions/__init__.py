"""Subscriptions as a connection has them."""
