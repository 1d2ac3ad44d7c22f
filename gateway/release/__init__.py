"""The one way of a report, from a C2 system's hands into partners' ledgers, and from a partner's ledger to C2 systems.

`pipeline` is the way out (decide, transform, seal, append), `replica` the way in (verify, append, open, receipt); both
only fill a `plan.Plan`. `sequencer` is the one file that commits. Live, replayed, held, relayed and onward reports all
take this way: there is no second one.
"""
