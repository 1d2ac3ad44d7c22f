"""The security officer's side: who may ask, what he is told (`gateway.audit`), and the orders that he brings.

`server` answers; `access` admits and puts on record who looked at what; `asking` reads what is asked; `reading` gives
all of it one thread of its own.
"""
