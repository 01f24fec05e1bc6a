"""Everything in which this project's libp2p differs from py-libp2p 0.8.1, in one place to import from.

The parts lie in `hardening_import` (release, fastecdsa), `hardening_streams` (tasks, hosts, yamux, dialling),
`hardening_speed` (locks, window), `hardening_frames` (reading and writing frames), `hardening_gossip` (router),
`hardening_relay` (who sends a copy), `hardening_pubsub` (frames, messages) and `hardening_quic`. Each deviation names
what it replaces and why; `docs/upstream.md` reports them, and tests/node/test_network_hardening.py,
test_hardened_connections.py and test_hardened_gossip.py have for each a test that fails without it. Importing this
takes a second or two: only `node.libp2p_network` does.
"""

from node.hardening_frames import PlainFrames, apply_frame_deviations
from node.hardening_gossip import ContentCache, GuardedGossip, Remembered, content_id, score_parameters
from node.hardening_import import LIBP2P, FastecdsaStandIn, require_release
from node.hardening_pubsub import FrameReader, GuardedPubsub, MalformedFrame
from node.hardening_quic import apply_quic_deviations
from node.hardening_speed import QuickLock, apply_speed_deviations
from node.hardening_streams import (
    BUFFERED_PER_CONNECTION,
    STREAMS_PER_CONNECTION,
    BoundedYamux,
    GuardedHost,
    NoAutoConnector,
    apply_stream_deviations,
    forget_failed_dial,
    noise_only,
)

__all__ = [
    "BUFFERED_PER_CONNECTION",
    "LIBP2P",
    "STREAMS_PER_CONNECTION",
    "BoundedYamux",
    "ContentCache",
    "FastecdsaStandIn",
    "FrameReader",
    "GuardedGossip",
    "GuardedHost",
    "GuardedPubsub",
    "MalformedFrame",
    "NoAutoConnector",
    "PlainFrames",
    "QuickLock",
    "Remembered",
    "apply_frame_deviations",
    "apply_quic_deviations",
    "apply_speed_deviations",
    "apply_stream_deviations",
    "content_id",
    "forget_failed_dial",
    "noise_only",
    "require_release",
    "score_parameters",
]

apply_stream_deviations()
apply_quic_deviations()
apply_speed_deviations()
apply_frame_deviations()
