"""The one way of a report, from a C2 system's hands into partners' ledgers, and from a partner's ledger to C2 systems.

`pipeline` is the way out (decide, transform, seal, append), `replica` the way in (verify, append, open, receipt); both
only fill a `plan.Plan`. `sequencer` is the one file that commits. Live, replayed, held, relayed and onward reports all
take this way: there is no second one.

- the way out: `pipeline`, `taking`, `sharing` (the one enforcement point), `groups`, `keeping`, `pending`, `moving`;
- the way in, and on: `replica`, `opening`, `arriving`, `onward`, `passing`;
- the commit: `plan` with its parts in the room `planned`, `sequencer`, `steps`, `heads`, `verdicts`, `watch`;
- what officers put in force: `governance`, `orders`, `rulebook`;
- keys: `signatory`, `key_switch`, `belief`, `postquantum`;
- what makes the record evidence: `witness`, `witnessing`, `evidence`, `successions`, `holdings`;
- what follows where the store was lost or set back: the room `recovery`;
- what is let go of once it is old: `retention`, `letting_go`.
"""
