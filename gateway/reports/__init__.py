"""Reports at every door: read, judged whole, and told apart, with no I/O and no clock of their own.

- `parse`: bytes to a report, and a report to the bytes that digests are taken of;
- `validate`: every rule of the contract, at the C2 door and at the partner's door;
- `fields`, `geometry`, `content`: the rules of single fields, of shapes, and of each kind;
- `derivations`: what nodes changed in a released copy, as they name it;
- `violations`, `errors`: what was wrong; `limits`: what a node may set;
- `kinds`, `marking`, `countries`: the six kinds, confidentiality markings, ISO 3166-1 codes.
"""
