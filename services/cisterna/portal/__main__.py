"""`python -m cisterna.portal --store URL --listen 127.0.0.1:PORT`."""

import argparse
import os
import signal
import sys
import threading

from cisterna.portal.server import Portal, parse_address, public_url
from cisterna.store import StoreError, open_store


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT. Exit codes: 0 stopped, 2 bad arguments, 5 store or address unusable."""
    parser = argparse.ArgumentParser(
        prog="python -m cisterna.portal", description="Read-only web page over the runs of a store."
    )
    parser.add_argument(
        "--store",
        default=os.environ.get("CISTERNA_STORE"),
        help="file:///folder or s3://bucket/prefix (CISTERNA_STORE)",
    )
    parser.add_argument(
        "--listen", default="127.0.0.1:7180", metavar="HOST:PORT", help="address to serve on (default 127.0.0.1:7180)"
    )
    options = parser.parse_args(arguments)
    if not options.store:
        parser.error("which store? give --store file:///folder or set CISTERNA_STORE")
    try:
        address = parse_address(options.listen)
    except ValueError as error:
        parser.error(str(error))
    try:
        portal = Portal(open_store(options.store), address)
    except StoreError as error:
        print(f"cisterna portal: {error}", file=sys.stderr)
        return 5
    except OSError as error:
        print(
            f"cisterna portal: cannot listen on {options.listen}: {error.strerror}; choose another port",
            file=sys.stderr,
        )
        return 5
    stop = lambda *_: threading.Thread(target=portal.shutdown).start()  # noqa: E731 - shutdown must not run on the serving thread
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    host, port = str(portal.server_address[0]), portal.server_address[1]
    print(f"portal of {public_url(options.store)} on http://{host}:{port}/", flush=True)
    portal.serve_forever(poll_interval=0.2)
    portal.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
