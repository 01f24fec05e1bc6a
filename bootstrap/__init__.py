"""The public face: a first peer that writes the log (`log_writer`), and shows the board to everybody (`pages`, `web/`).

A node that publishes and does not evaluate; `daemon` is all of it in one nursery.
"""
