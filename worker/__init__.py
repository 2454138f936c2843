"""The location worker: follows shared locations and publishes every new position once."""
