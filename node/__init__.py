"""The daemon: it finds peers, spreads messages, follows the log, evaluates what falls to it, and tells its owner.

`network` is the seam to the transport (`libp2p_network`, and `memory_network` for tests), `core` what every participant
runs, `scheduler` and `batches` the duties of an account, `control` the HTTP API, `daemon` all of it in one nursery.
"""
