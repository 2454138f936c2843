"""The long-running processes: how the parts are put together, signals, exit statuses."""
