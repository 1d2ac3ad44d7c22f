"""What a `gateway.release.plan.Plan` is made of: what the store holds, and what the plan adds to that.

`ledgers` and `ledger_writer`: every ledger, and the appending to one of this node's own. `own_reports` and `arrivals`:
the reports of this node and of partners. `releases`, `holds` and `untold`: what partners have of them. `put_off`: what
has still to be passed on.
"""
