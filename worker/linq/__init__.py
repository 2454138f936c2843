"""The Linq Partner API: clients, and what its replies mean for a share."""
