"""`python -m peerboard` is `peerboard`."""

from peerboard.cli import main

main()
