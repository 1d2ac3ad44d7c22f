"""A small world to show the gateways in: launches of public record, invented sensors, and the reports that
three nations' C2 systems would make of them.

All of it but `deployment` and `play`, which write directories and run processes, is pure: a scenario, a shift in time
and a seed give the same reports every time. Every report is of traffic class EXERCISE.
"""
