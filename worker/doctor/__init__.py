"""The doctor: looks at settings, Redis, both APIs and webhooks, and says what is wrong and what to do."""
