"""The server with storage on disk does what the chaos relies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.vault_cluster import VaultAwayError, VaultCluster


def test_what_was_stored_survives_a_node_that_is_killed(vault_binary: Path, tmp_path: Path) -> None:
    with VaultCluster(vault_binary, tmp_path, 1) as cluster:
        (node,) = cluster.nodes
        before = node.address
        cluster.call("POST", "secret/data/kept", {"data": {"a": "1"}})
        node.end(kill=True)
        assert cluster.ready() == []
        with pytest.raises(VaultAwayError, match="no node"):
            cluster.call("GET", "secret/data/kept")
        cluster.restart(node, kill=True)
        assert cluster.ready() == [("127.0.0.1", node.port)]
        assert node.address == before
        assert cluster.call("GET", "secret/data/kept")["data"]["data"] == {"a": "1"}
