"""The jobs of the queue: how arq runs them, what they take, and what they do."""
