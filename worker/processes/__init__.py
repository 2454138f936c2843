"""The long-running processes: how parts are put together, signals, exit statuses."""
