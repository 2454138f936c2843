"""Polling: claim what is due, read it, decide, and commit."""
