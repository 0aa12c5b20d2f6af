"""The settings of a server: their names, defaults, and what each may be.

Knows no socket, no environment and no file: ``Settings`` is frozen and checks values only, so that
``Settings(port=0)`` in a program means the same everywhere; ``settings_sources`` reads the rest.
(pydantic-settings would read the environment inside every ``Settings(…)``, cannot tell sources
apart afterwards, and costs 80 ms at start.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ..access.jwks_url import is_fit_for_keys
from ..access.jwt_keys import HMAC_ALGORITHMS, SIGNATURE_ALGORITHMS
from ..access.origins import listens_on_loopback, parse_origin
from ..access.proxies import TrustedProxies
from ..access.roles import parse_roles
from ..runtime.event_loops import EventLoop
from ..runtime.machine import default_max_memory_bytes
from ..wire.limits import LIMITS, Limits

#: Fields that name files; relative ones in a TOML file are relative to that file.
FILES_READ: Final = (
    "api_key_file", "tls_certificate_file", "tls_key_file", "jwt_keys", "jwt_secret_file",
    "tenants_file", "cluster_credentials", "cluster_ca_file",
)  # fmt: skip
PATH_FIELDS: Final = ("data_dir", "audit_file", *FILES_READ)

#: With any of these, whoever comes needs a token.
LOGIN_FIELDS: Final = ("api_key_file", "jwt_keys", "jwt_jwks_url", "jwt_secret_file")

MAX_COUNT: Final = 2**53 - 1
#: Of the longest kind, all connections together should have room for so many: one that comes, one
#: that is answered, and as much again before the budget is tight.
LEAST_MESSAGES: Final = 4
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
#: Names of files and hosts that a system takes: not empty, without NUL.
Name = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]
MonitorAddress = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+$")]
#: A name that stands in names of streams and subjects; as ``journal.jetstream.names`` has it.
ClusterWord = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]


def _has_no_log(data: Mapping[str, Any]) -> bool:
    return data.get("data_dir") is None and data.get("cluster") is None


def _limit(name: str) -> Any:
    """A field with the default and the meaning that the table of limits has."""
    about = LIMITS[name].about
    return Field(LIMITS[name].default, description=f"{about[0].upper()}{about[1:]}.")


class Settings(BaseModel):
    """Every setting of a server, checked. Units are in the names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    host: Name = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        8765, description="Port to listen on; 0 takes any free one."
    )
    http_port: Annotated[int | None, Field(ge=0, le=65_535)] = Field(
        None,
        description="Port of the HTTP API, on the same address; 0 takes any free one. Without it"
        " there is no HTTP API. Needs the extra http.",
    )
    http_idle_seconds: Annotated[float, Field(ge=1, le=86_400)] = Field(
        60.0, description="How long an HTTP connection may stay without a request."
    )
    http_default_capacity: Count = Field(
        100_000, description="Rows of the collection default, which /vectors/add makes."
    )
    idempotency_seconds: Annotated[int, Field(ge=1, le=2_592_000)] = Field(
        86_400, description="How long an Idempotency-Key is remembered; a restart forgets all."
    )
    idempotency_keys: Count = Field(
        100_000,
        description="Idempotency keys that are remembered; beyond it the tenant with the most loses"
        " its oldest.",
    )
    config_file: Name | None = Field(None, description="TOML file with any of these settings.")
    data_dir: Name | None = Field(
        None, description="Directory of the journal; without it, collections live in memory only."
    )
    cluster: Name | None = Field(
        None,
        description="NATS servers (nats://host:4222, more after commas) whose JetStream holds the"
        " change logs, instead of a data directory. Needs the extra cluster.",
        validate_default=True,
    )
    cluster_name: ClusterWord = Field(
        "main", description="The cluster's name; one NATS may hold several clusters."
    )
    cluster_credentials: Name | None = Field(
        None, description="File of credentials (.creds) that NATS knows this node by."
    )
    node_name: ClusterWord | None = Field(
        None, description="What this node is called in the cluster.", validate_default=True
    )
    advertise: Name | None = Field(
        None, description="Where the other nodes of the cluster reach this one (ws://host:port/v1)."
    )
    cluster_ca_file: Name | None = Field(
        None, description="PEM file of the authorities that other nodes' certificates are from."
    )
    cluster_heal: Literal["auto", "ask"] = Field(
        "auto", description="When a collection whose stream was lost is made of a window."
    )
    cluster_monitors: Annotated[tuple[MonitorAddress, ...], Field(strict=False)] = Field(
        (),
        description="Monitoring ports of the NATS servers (http://host:8222), for always.",
    )
    default_durability: Literal["memory", "everysec", "always"] = Field(
        default_factory=lambda data: "memory" if _has_no_log(data) else "everysec",
        description="Durability of collections that do not ask for one; by default everysec with a"
        " data directory or a cluster, memory without.",
        validate_default=True,
    )
    api_key_file: Name | None = Field(
        None, description="TOML file of API keys; without it the server is open to all."
    )
    jwt_keys: Name | None = Field(
        None, description="JWKS file, or PEM public keys, that JSON Web Tokens verify with."
    )
    jwt_jwks_url: Name | None = Field(
        None, description="Where the JWKS is fetched from; https, or http on this machine."
    )
    jwt_refresh_seconds: Annotated[float, Field(ge=10, le=86_400)] = Field(
        300.0, description="How often the JWKS is fetched again."
    )
    jwt_secret_file: Name | None = Field(
        None,
        description="File with the secret, of 32 bytes or more, of tokens signed by HMAC.",
        validate_default=True,
    )
    jwt_algorithms: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (),
        description="Algorithms of JSON Web Tokens; by default RS256, ES256 and EdDSA, with a"
        " secret HS256.",
        validate_default=True,
    )
    jwt_issuer: str | None = Field(None, description="What the claim iss must be.")
    jwt_audience: str | None = Field(
        None, description="What the claim aud must hold.", validate_default=True
    )
    jwt_leeway_seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        30.0, description="How far the clock of who signs may be off."
    )
    jwt_tenant_claim: Name = Field("tenant", description="The claim that names the tenant.")
    jwt_grants_claim: Name = Field("omendb", description="The claim that lists grants.")
    jwt_roles_claim: Name | None = Field(None, description="The claim that lists roles.")
    jwt_roles: dict[str, Any] = Field(
        {}, description="Tables of roles, each with the fields of a grant, or with grants."
    )
    tenants_file: Name | None = Field(
        None, description="TOML file that says what each tenant may use."
    )
    max_tenants: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1_000, description="Tenants that are here at once; each in tenants_file has a place."
    )
    allow_origins: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (),
        description="Web origins (scheme://host[:port]) whose pages may connect, besides the"
        " server's own; on a server without keys also the hosts it may be reached by.",
        validate_default=True,
    )
    trusted_proxies: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (),
        description="Addresses and networks of proxies that are believed when they say where a"
        " client is: by X-Forwarded-For, or the PROXY protocol.",
    )
    proxy_protocol: Literal["off", "on"] = Field(
        "off",
        description="on: connections from trusted_proxies begin with a PROXY header (version 1 or"
        " 2), before TLS; others do not.",
        validate_default=True,
    )
    tls_certificate_file: Name | None = Field(None, description="PEM file with the certificates.")
    tls_key_file: Name | None = Field(
        None, description="PEM file with the private key.", validate_default=True
    )
    audit_file: Name | None = Field(
        None,
        description="File that the audit log is appended to: logins, refusals by right, create,"
        " drop, reloads.",
    )
    max_metrics_collections: Annotated[int, Field(ge=0, le=10_000)] = Field(
        50,
        description="Collections, the busiest, that /metrics tells one by one; all others are one.",
    )
    trace_endpoint: Name | None = Field(
        None,
        description="Where traces go, by OTLP over HTTP (http://127.0.0.1:4318/v1/traces); without"
        " it there are none. Needs the extra otel.",
    )
    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01,
        description="Share of requests that are traced, of those whose client does not say; it may"
        " say for each of its own.",
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the log on stderr.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe messages that are logged."
    )
    event_loop: EventLoop = Field(
        "auto", description="auto is uvloop where it is installed, else asyncio."
    )
    scan_threads: Annotated[int, Field(ge=0, le=64)] = Field(
        0,
        description="Threads that share the scan of many searches, or of one over a large window;"
        " 0 is one a core, at most 4.",
    )
    queue_deadline_ms: Count = Field(
        1000, description="Work that waited longer is refused as overloaded."
    )
    max_messages_per_second: Annotated[int, Field(ge=0, le=MAX_COUNT)] = Field(
        0, description="Messages a connection may send a second; 0 is no limit."
    )
    drain_notice_seconds: Annotated[float, Field(ge=0, le=3_600)] = Field(
        0.0,
        description="How long a leaving server goes on as usual while /readyz says 503, so that a"
        " load balancer sends nobody new.",
    )
    drain_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        10.0, description="How long a leaving server waits for its connections."
    )

    # The limits of PROTOCOL section 9; their defaults and meaning stand in wire/limits.py.
    max_message_bytes: Count = _limit("max_message_bytes")
    max_unauthenticated_bytes: Count = _limit("max_unauthenticated_bytes")
    max_text_bytes: Count = _limit("max_text_bytes")
    max_dim: Count = _limit("max_dim")
    max_capacity: Count = _limit("max_capacity")
    max_rows: Count = _limit("max_rows")
    max_k: Count = _limit("max_k")
    max_queries: Count = _limit("max_queries")
    max_ids: Count = _limit("max_ids")
    max_metadata_bytes: Count = _limit("max_metadata_bytes")
    max_inflight: Count = _limit("max_inflight")
    max_inflight_bytes: Count = _limit("max_inflight_bytes")
    max_pending_bytes: Count = _limit("max_pending_bytes")
    max_pending_rows: Count = _limit("max_pending_rows")
    max_subscriptions: Count = _limit("max_subscriptions")
    max_server_subscriptions: Count = _limit("max_server_subscriptions")
    max_connections: Count = _limit("max_connections")
    max_unauthenticated_connections: Count = _limit("max_unauthenticated_connections")
    max_connection_bytes: Count = _limit("max_connection_bytes")
    max_collections: Count = _limit("max_collections")
    max_producers: Count = _limit("max_producers")
    max_memory_bytes: Count = Field(
        default_factory=default_max_memory_bytes,
        description="All windows, reserved at create, and what collections hold besides (metadata,"
        " texts, subscriptions, waiting hits); by default 70% of the machine's memory, or of the"
        " control group's limit if that is lower.",
    )
    max_payload_bytes: Count = _limit("max_payload_bytes")

    def limits(self) -> Limits:
        """The limits as the wire and the server take them."""
        return Limits(**{name: getattr(self, name) for name in LIMITS})

    @property
    def needs_tokens(self) -> bool:
        """Whether only who has a token comes in."""
        return any(getattr(self, name) is not None for name in LOGIN_FIELDS)

    def warnings(self) -> tuple[str, ...]:
        """What works and is unwise."""
        found = []
        if not self.needs_tokens and not listens_on_loopback(self.host):
            found.append(
                f"ANYBODY who reaches {self.host} may read, change and drop everything: there is no"
                " api_key_file. (allow_origins keeps web pages away, and no other program.)"
            )
        if self.max_connection_bytes < LEAST_MESSAGES * self.max_message_bytes:
            found.append(
                f"max_connection_bytes ({self.max_connection_bytes}) is less than {LEAST_MESSAGES}"
                f" messages of max_message_bytes ({self.max_message_bytes}): who sends a large one"
                " may be closed for it"
            )
        return tuple(found)

    @field_validator("default_durability")
    @classmethod
    def _journal_for_durability(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("cluster") is not None:
            if value == "always" and not info.data.get("cluster_monitors", ("",)):
                raise ValueError("unsupported without cluster_monitors, which say who flushes")
        elif value != "memory" and info.data.get("data_dir", "") is None:
            raise ValueError("unsupported without a data directory: set data_dir")
        return value

    @field_validator("cluster")
    @classmethod
    def _servers_of_nats(cls, value: str | None, info: ValidationInfo) -> str | None:
        for one in value.split(",") if value is not None else ():
            if re.fullmatch(r"(nats|tls)://[^\s,/]+", one) is None:
                raise ValueError("must be nats://host:port or tls://host:port, more after commas")
        if value is not None and info.data.get("data_dir") is not None:
            raise ValueError("excludes data_dir: the change logs of a cluster are in NATS")
        return value

    @field_validator("advertise")
    @classmethod
    def _address_of_a_node(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and re.fullmatch(r"wss?://[^\s/?#@]+/v1", value) is None:
            raise ValueError("must be ws://host:port/v1 or wss://host:port/v1")
        return value

    @field_validator("node_name")
    @classmethod
    def _named_in_a_cluster(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("cluster") is not None:
            raise ValueError("must be set with cluster")
        return value

    @field_validator("jwt_secret_file")
    @classmethod
    def _one_source_of_keys(cls, value: str | None, info: ValidationInfo) -> str | None:
        given = [n for n in ("jwt_keys", "jwt_jwks_url") if info.data.get(n) is not None]
        if len(given) + (value is not None) > 1:
            raise ValueError(
                "only one of jwt_keys, jwt_jwks_url and jwt_secret_file may be set: a public key"
                " must never be taken for a secret"
            )
        url = info.data.get("jwt_jwks_url")
        if url is not None and not is_fit_for_keys(url):
            raise ValueError(f"jwt_jwks_url {url!r} must be https, or http on this machine")
        return value

    @field_validator("jwt_algorithms")
    @classmethod
    def _algorithms_that_fit(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        is_secret = info.data.get("jwt_secret_file") is not None
        known = HMAC_ALGORITHMS if is_secret else SIGNATURE_ALGORITHMS
        for one in value:
            if one not in known:
                raise ValueError(f"{one!r} is not among {', '.join(known)}")
        return value or (("HS256",) if is_secret else ("RS256", "ES256", "EdDSA"))

    @field_validator("jwt_audience")
    @classmethod
    def _audience_for_a_set(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("jwt_jwks_url") is not None:
            raise ValueError("must be set with jwt_jwks_url: its keys sign for others too")
        return value

    @field_validator("jwt_roles")
    @classmethod
    def _roles_that_read(cls, value: dict[str, Any]) -> dict[str, Any]:
        parse_roles(value)  # GrantError is a ValueError, and names the field
        return value

    @field_validator("allow_origins")
    @classmethod
    def _normal_origins(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        origins = []
        for text in value:
            origin = parse_origin(text)
            if origin is None:
                raise ValueError(
                    f"{text!r} is no origin; write http(s)://host or http(s)://host:port"
                )
            origins.append(str(origin))
        host = info.data.get("host")
        is_open = not any(info.data.get(name) is not None for name in LOGIN_FIELDS)
        if not origins and is_open and host is not None and not listens_on_loopback(host):
            raise ValueError(
                f"host {host} is reachable by others, and without keys any web page could drive"
                " this server: name the origins that may, or set api_key_file"
            )
        return tuple(origins)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        TrustedProxies.parse(value)
        return value

    @field_validator("proxy_protocol")
    @classmethod
    def _from_somebody(cls, value: str, info: ValidationInfo) -> str:
        if value == "on" and not info.data.get("trusted_proxies", ("",)):
            raise ValueError("nobody may send the header: set trusted_proxies")
        return value

    @field_validator("tls_key_file")
    @classmethod
    def _both_tls_files(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "tls_certificate_file" in info.data:
            certificate = info.data["tls_certificate_file"]
            if (certificate is None) != (value is None):
                missing = "tls_key_file" if value is None else "tls_certificate_file"
                raise ValueError(f"TLS needs both files: {missing} is not set")
        return value
