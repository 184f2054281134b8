"""Peers: registration tools of others, each behind one function that returns our `Transform`.

They come with the extra `benchmark`, except elastix, which is in the core, and deeds, whose executables must be on the
PATH. Each runs what its authors recommend: `Peer.settings`.
"""

from __future__ import annotations

from jssr.peers import ants, convexadam, deeds, elastix, greedy
from jssr.peers.base import Peer

PEERS: dict[str, Peer] = {
    peer.name: peer for peer in (*elastix.PEERS, *ants.PEERS, *greedy.PEERS, *convexadam.PEERS, *deeds.PEERS)
}
"""By name."""
