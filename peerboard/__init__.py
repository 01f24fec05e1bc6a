"""The application: the `peerboard` command and the demo network, the only place that knows all the other packages."""
