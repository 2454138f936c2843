"""A stand-in for the Linq and Chert APIs: people who share their location, faults on demand, signed webhooks.

Built from the vendors' reference alone. Start it with `python -m simulator`, or from Python with
`simulator.harness.SimulatorServer`.
"""
