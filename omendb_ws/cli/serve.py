"""``omendb-ws serve``: run a server until a signal ends it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, NoReturn

from . import cannot_listen, options, recovery_bar
from .failure import FAILED, fail, failing
from .loading import choose_kernel_and_loop, load_settings
from .supervised import Supervised

if TYPE_CHECKING:
    from ..net.server import Server
    from ..net.sockets import Sockets
    from ..node.config import Settings

log = logging.getLogger(__name__)

#: One thread for BLAS: a second one burns a core and answers no sooner (DESIGN "Threads"). These
#: are read when numpy is imported; what a user has set stays.
BLAS_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def serve(
    config: options.ConfigFile = None,
    host: options.Host = None,
    port: options.Port = None,
    http_port: options.HttpPort = None,
    data_dir: options.DataDir = None,
    cluster: options.Cluster = None,
    node_name: options.NodeName = None,
    cluster_name: options.ClusterName = None,
    cluster_credentials: options.ClusterCredentials = None,
    advertise: options.Advertise = None,
    api_key_file: options.ApiKeyFile = None,
    tenants_file: options.TenantsFile = None,
    allow_origin: options.AllowOrigin = None,
    tls_certificate_file: options.TlsCertificateFile = None,
    tls_key_file: options.TlsKeyFile = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
    max_memory_bytes: options.MaxMemoryBytes = None,
    drain_seconds: options.DrainSeconds = None,
) -> None:
    """Run a server; its address is printed when it is ready.

    Everything else that can be set stands in the TOML file or the environment (OMENDB_MAX_K for
    max_k); check-config lists it all. SIGTERM and Ctrl-C let clients finish first, a second one
    does not.

    \b
    Examples:
      omendb-ws serve
      omendb-ws serve --port 0 --log-format json
      omendb-ws serve --host 0.0.0.0 --api-key-file keys.toml
    """
    loaded = load_settings(
        options.given(
            config_file=config,
            host=host,
            port=port,
            http_port=http_port,
            data_dir=data_dir,
            cluster=cluster,
            node_name=node_name,
            cluster_name=cluster_name,
            advertise=advertise,
            cluster_credentials=cluster_credentials,
            api_key_file=api_key_file,
            tenants_file=tenants_file,
            allow_origins=allow_origin,
            tls_certificate_file=tls_certificate_file,
            tls_key_file=tls_key_file,
            log_format=log_format,
            log_level=log_level,
            max_memory_bytes=max_memory_bytes,
            drain_seconds=drain_seconds,
        )
    )
    run(loaded.settings, loaded.warnings)


def one_blas_thread() -> None:
    """Hold BLAS to one thread; must be called before numpy is imported."""
    for name in BLAS_VARIABLES:
        os.environ.setdefault(name, "1")


def run(settings: Settings, warnings: tuple[str, ...] = ()) -> None:
    """Run a server with ``settings`` until it is told to leave; fails with a line on stderr."""
    one_blas_thread()
    from ..access import keyring
    from ..journal.jetstream.connection import Refused, check_extra
    from ..net import sockets, tls
    from ..node.audit_file import AuditFileError
    from ..runtime import descriptors, extras, logs, systemd
    from ..telemetry import tracing
    from ..tenants.limits import TenantsFileError

    logs.configure(settings.log_format, settings.log_level)
    if settings.trace_endpoint is not None:
        with failing(extras.ExtraMissing):
            tracing.check_extra()
        tracing.name_traces_in_logs()
    with failing(systemd.SystemdError, sockets.SocketsError):
        given = systemd.take()
        listening = sockets.named(given.sockets)
        settings = sockets.told_of(settings, listening)
    _outlive_hangups()
    for warning in warnings:
        log.warning("%s", warning)
    descriptors.raise_limit()
    kernel, loop = choose_kernel_and_loop(settings.event_loop)
    log.info("kernel %s, event loop %s", kernel, loop.name)
    if settings.cluster is not None:
        with failing(extras.ExtraMissing):
            check_extra()
    wrong = (keyring.KeyFileError, tls.TlsError, TenantsFileError, AuditFileError, Refused)
    with (
        failing(*wrong, extras.ExtraMissing),
        asyncio.Runner(loop_factory=loop.new_loop) as runner,
    ):
        runner.run(_serve(settings, listening, Supervised(given)))


async def _serve(settings: Settings, listening: Sockets, supervised: Supervised) -> None:
    """Serve until a signal, drain, and return; a second signal ends the process at once."""
    from omendb_core.model.errors import OmenError

    from ..net.server import Server
    from ..runtime.cycles import Cycles

    leave = asyncio.Event()
    _on_signals(lambda: _stop_at_once() if leave.is_set() else leave.set())
    async with AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(Server(settings, sockets=listening))
        except OmenError as error:
            fail(FAILED, str(error))
        except OSError as error:
            fail(FAILED, *cannot_listen.lines(error, settings))
        _reload_on_hangups(server, supervised)
        supervised.begin(server)
        metrics = server.metrics
        cycles = Cycles(lambda: metrics.connections_opened - metrics.connections)
        cycles.start()
        looking = asyncio.create_task(cycles.run())
        print(_ready_line(settings, server), flush=True)
        showing = asyncio.create_task(recovery_bar.show(server.node.recoveries))
        await leave.wait()
        showing.cancel()
        looking.cancel()
        cycles.stop()
        log.info("leaving: waiting up to %g s for clients", settings.drain_seconds)
        await supervised.leave(settings.drain_notice_seconds + settings.drain_seconds)
        await server.drain()
    await supervised.end()
    log.info("stopped")


def _stop_at_once() -> NoReturn:
    """End the process without asking anybody: a drain that hangs must not be able to prevent it."""
    print(
        "omendb-ws: stopped by a second signal, clients were cut off", file=sys.stderr, flush=True
    )
    os._exit(FAILED)


def _on_signals(react: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, react)


def _outlive_hangups() -> None:
    """SIGHUP asks for a reload; before there is anything to reload it must not end the server."""
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _reload_on_hangups(server: Server, supervised: Supervised) -> None:
    """From here on, a hangup has keys, certificates and tenants read again, and the audit log
    opened anew."""
    if not hasattr(signal, "SIGHUP"):
        return
    reading: set[asyncio.Task[None]] = set()

    def read_again() -> None:
        log.info("SIGHUP: reading keys, certificates and tenants again")
        task = asyncio.create_task(supervised.reload(server))
        reading.add(task)
        task.add_done_callback(reading.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, read_again)


def _ready_line(settings: Settings, server: Server) -> str:
    from .._version import VERSION

    url, http_url = server.url, server.http_url
    if settings.log_format == "json":
        ready = {"event": "ready", "url": url, "host": settings.host, "port": server.port}
        if http_url is not None:
            ready["http_url"] = http_url
        return json.dumps({**ready, "version": VERSION, "pid": os.getpid()})
    also = "" if http_url is None else f" and {http_url}"
    return f"omendb-ws {VERSION} is ready at {url}{also}"
