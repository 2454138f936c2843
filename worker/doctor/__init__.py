"""The doctor: checks settings, Redis, both APIs and webhooks, and says what is wrong and how to fix it."""
