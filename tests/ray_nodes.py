"""A Ray cluster of several nodes on loopback, each with processes of its own."""

from contextlib import contextmanager

from medseg.stages.ray_address import settings


@contextmanager
def ray_nodes(count, *, cpus=1, **system):
    """Give a cluster of `count` nodes and end it with the block; see `ray.cluster_utils`."""
    with settings(None):  # all of it on 127.0.0.1, with a token
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        try:
            for number in range(count):
                head = {"_system_config": system} if system and not number else {}
                cluster.add_node(
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=100 << 20,
                    **head,
                )
            yield cluster
        finally:
            cluster.shutdown()
