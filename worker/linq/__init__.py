"""The Linq Partner API: clients, and its replies sorted by what they mean for a share."""
