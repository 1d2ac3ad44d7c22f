"""One gateway as it runs: how it is put together, started, served and stopped. In the order in which it happens:

- `identity`: the certificate and the keys are loaded, and must be those of the configuration;
- `store`: the store's connections, and what follows where it fails;
- `parts`: everything that a gateway consists of is made and tied; nothing is opened;
- `checks`: what `signalfire serve --check` asks of it before a start;
- `node`: its life: `start`, `serve`, `stop`, each in order;
- `starting`: what a start puts on record before a port is open;
- `services`: what answers C2 systems, officers and partners;
- `listening`: the two listeners that they are reached at;
- `tasks`: what runs by itself while the gateway serves: partners are followed, and what is due is done;
- `looking`: what is looked at again and again: bundles, keys, clock, alarms, the store's room, what expires.

All of it logs as `gateway.node`.
"""

from gateway.node.errors import StartError
from gateway.node.node import Node

__all__ = ["Node", "StartError"]
