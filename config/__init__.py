"""The ground: settings, logging, Redis connections."""
