"""The location worker: tracks shared locations and publishes every new position once."""
