"""The flags that ``serve`` and ``check-config`` share. Every other setting is in the environment
or the TOML file only.

Texts of defaults stand here, not in ``Settings``, because help must not import pydantic; a test
holds the two equal. Values are checked by ``config``, numbers too, so that a bad one is told in the
same words wherever it came from, and beside whatever else is wrong.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

#: Of seconds, thirty years; of rows a second, more than there are.
_MAX_NUMBER: Final = 1e9

ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="TOML file with any setting; see check-config."),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[
    str | None,
    typer.Option(
        metavar="INTEGER", help="Port to listen on; 0 takes any free one.", show_default="8765"
    ),
]
HttpPort = Annotated[
    str | None,
    typer.Option(
        metavar="INTEGER",
        help="Port of the HTTP API; without it there is none. Needs the extra http.",
    ),
]
DataDir = Annotated[
    str | None,
    typer.Option(metavar="DIRECTORY", help="Directory of the journal; without it, memory only."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESSES",
        help="NATS servers that hold the change logs (nats://host:4222, more after commas). Needs"
        " the extra cluster.",
    ),
]
NodeName = Annotated[
    str | None, typer.Option(metavar="NAME", help="What this node is called in the cluster.")
]
ClusterName = Annotated[
    str | None, typer.Option(metavar="NAME", help="The cluster's name.", show_default="main")
]
Advertise = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where other nodes reach this one: ws://host:port/v1."),
]
ClusterCredentials = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Credentials (.creds) that NATS knows this node by."),
]
ApiKeyFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="TOML file of API keys (new-key makes them); without it, open to all."
    ),
]
TenantsFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="TOML file that says what each tenant may use."),
]
AllowOrigin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ORIGIN",
        help="Web origin (http://host:port) that may connect besides the server's own; repeatable.",
    ),
]
TlsCertificateFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="PEM file with the certificates; turns on TLS.")
]
TlsKeyFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="PEM file with the private key.")
]
LogFormat = Annotated[
    str | None,
    typer.Option(metavar="text|json", help="Form of the log on stderr.", show_default="text"),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        metavar="debug|info|warning|error", help="Least severe that is logged.", show_default="info"
    ),
]
MaxMemoryBytes = Annotated[
    str | None,
    typer.Option(
        metavar="INTEGER",
        help="Memory that all windows may reserve.",
        show_default="70% of the machine's memory",
    ),
]
DrainSeconds = Annotated[
    str | None,
    typer.Option(
        metavar="FLOAT",
        help="How long a leaving server waits for its clients.",
        show_default="10.0",
    ),
]


def finite(value: float | None) -> float | None:
    """Refuse ``inf`` and ``nan``, which the least and largest of a flag let pass."""
    if value is not None and not -_MAX_NUMBER <= value <= _MAX_NUMBER:
        raise typer.BadParameter(f"{value} is no number that can be meant.")
    return value


def given(**values: Any) -> dict[str, Any]:
    """The flags that were given, by the settings' names."""
    # typer gives [] for a repeatable flag that was not given.
    return {name: value for name, value in values.items() if value is not None and value != []}
