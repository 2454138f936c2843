"""All of Redis: nothing outside this package knows a key's name."""
