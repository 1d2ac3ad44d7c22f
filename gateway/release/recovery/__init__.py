"""What follows when the store was set back or lost: next generations, what partners give back, what C2 systems are
asked for again (docs/recovery.md).
"""
