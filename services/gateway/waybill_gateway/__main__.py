"""The gateway process: `python -m waybill_gateway`."""

from __future__ import annotations

from waybill.rpc.server import run
from waybill_gateway.gateway import Gateway
from waybill_gateway.settings import GatewaySettings


def main() -> None:
    """Serve until asked to stop."""
    settings = GatewaySettings()

    async def serve() -> None:
        gateway = Gateway(settings)
        await gateway.start()
        await gateway.run_until_stopped()

    run(serve, "gateway", settings)


if __name__ == "__main__":
    main()
