"""The views over HTTP: the event stream, the latest positions, the map."""
