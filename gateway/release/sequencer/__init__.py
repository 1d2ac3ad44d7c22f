"""What makes everything durable that a node keeps, in one order. The way of a step, and where it goes:

- `sequencer`: what the others see, and how it is put together; `limits`: its bounds;
- `step`: what is to be made durable, and what is told of it;
- `door`: where a step comes in, or is refused; it waits there by the rules of `gateway.release.waiting`;
- `rounds`: what has queued is taken, made durable, announced and answered, one commit after another;
- `filling`: its steps fill the plan of that commit, as long as there is time, unless it gives way to an alert;
- `committing`: the plan is signed and committed: the one file that commits;
- `known`: what this process knows to be durable, which the commit moves on;
- `reopening`: a commit failed, so nobody knows what is durable: nothing is taken until the store is open again;
- `taking_up`: a store is opened, read, and held against what is known;
- `thread`: the one thread that does what `filling`, `committing` and `taking_up` say. All else is the event loop's.

All of it logs as `gateway.release.sequencer`.
"""

from gateway.release.sequencer.limits import SequencerLimits
from gateway.release.sequencer.sequencer import Sequencer
from gateway.release.sequencer.step import Durable, Step

__all__ = ["Durable", "Sequencer", "SequencerLimits", "Step"]
