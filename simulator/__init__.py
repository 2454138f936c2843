"""A stand-in for the Linq and Chert APIs: people who share their location, faults on demand, signed webhooks.

Built only from the vendors' documentation. Start it with `python -m simulator`, or from Python with
`simulator.harness.SimulatorServer`.
"""
