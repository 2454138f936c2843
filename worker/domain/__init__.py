"""Decisions, all of them pure: no I/O, no clock, no Redis, no HTTP."""
