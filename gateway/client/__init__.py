"""The client library for C2 systems, in Python. It speaks the contract in `proto/signalfire/v1` and nothing else.

Pushing reports::

    client = Client(Credentials.from_directory("c2/sensors"), "127.0.0.1:7101", "a.gateway.jpn.signalfire.internal")
    async for result in client.submit(reports):      # any iterable or async iterable of Report
        print(result.report_id, result.accepted, result.violations)

Receiving what partners released::

    async for item in client.subscribe([TrafficClass.TRAFFIC_CLASS_LIVE], cursor=load_cursor()):
        handle(item)
        save_cursor(item.cursor)                     # once it is dealt with

`ReportIds` makes identifiers for reports. `Picture` keeps what stands of those that came: every report, withdrawn or
not, whichever of the two came first.

Both go on through broken connections and restarts of the gateway: `submit` sends again whatever was not answered (the
gateway knows a report by its identifier, so nothing is doubled), `subscribe` resumes after the last item that it gave.
"""

from gateway.client.client import Client
from gateway.client.connection import Credentials
from gateway.client.errors import ClientError, CursorTooOld
from gateway.client.identifiers import ReportIds
from gateway.client.picture import Picture, Shown
from gateway.client.receiving import CaughtUp, Received, Withdrawn
from gateway.client.sending import Result

__all__ = [
    "CaughtUp",
    "Client",
    "ClientError",
    "Credentials",
    "CursorTooOld",
    "Picture",
    "Received",
    "ReportIds",
    "Result",
    "Shown",
    "Withdrawn",
]
