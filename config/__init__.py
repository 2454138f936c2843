"""The foundation: settings, logging, Redis connections."""
