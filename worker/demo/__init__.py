"""The demo: everything at once on a private Redis, with a live view."""
