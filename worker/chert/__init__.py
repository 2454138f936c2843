"""The Chert API: one-time location pins."""
