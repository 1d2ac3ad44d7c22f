"""What is wrong with a gateway's installation, and how to mend it: before it starts, and beside one that runs.

Each check takes what it looks at as arguments and gives findings; none changes anything, and none raises for something
that is broken. `examine` runs them all.

- `finding`: the one value;
- `certificates`, `keys`, `bundles`: files of the identity, each against what it should be;
- `record`: what the store says of keys, bundles and time;
- `machine`: clock, disk and ports;
- `reach`: partners, in both directions.
"""
