"""`python -m gateway` is `signalfire`."""

from gateway.cli import main

main(prog_name="signalfire")
