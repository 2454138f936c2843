"""Polling: claims what is due, reads it, decides, and commits."""
