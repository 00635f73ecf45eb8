"""The keys of the settings file, their defaults and their bounds.

Invariant: a settings object is valid and never changes. Every key except `sources` has a default.
Neighbours: `source_sections` has the keys of the sources; `loader` reads the file, `urls` checks addresses, `schema`
describes the keys to editors.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from worker.core.model.desired import Mode
from worker.core.model.secret import KEY_PREFIX
from worker.core.planning import references
from worker.settings import section, source_kinds, time_zones, urls

Fraction = Annotated[float, pydantic.Field(ge=0, le=1)]
_Mode = Annotated[
    Mode,
    pydantic.Field(strict=False),
    pydantic.WithJsonSchema({"type": "string", "enum": [mode.value for mode in Mode]}),
]
Membership = Annotated[
    str,
    section.accepted_by(references.parse_membership),
    pydantic.WithJsonSchema({"type": "string", "pattern": "^drv_[A-Za-z0-9]{32}/flt_[A-Za-z0-9]{32}$"}),
]


Driver = Annotated[str, section.accepted_by(references.parse_driver)]
FleetReference = Annotated[
    str, section.accepted_by(references.parse_fleet), pydantic.WithJsonSchema({"type": "string", "minLength": 1})
]


class Charge(section.Section):
    """Where Charge's API is, and how to reach it."""

    base_url: Annotated[str, pydantic.AfterValidator(urls.base_url)] = pydantic.Field(
        default="https://api.chargeapi.co/v1",
        json_schema_extra={"pattern": urls.BASE_URL_PATTERN},
        description="Address of the API. Plain http only for loopback addresses.",
    )
    api_version: str = pydantic.Field(
        default="2026-03-01", pattern=r"^[A-Za-z0-9.-]+$", description="Version of the API to request."
    )
    api_key_file: str = pydantic.Field(
        default="",
        json_schema_extra={"not": {"pattern": KEY_PREFIX}},
        description="File with the secret key; CHARGE_API_KEY and CHARGE_API_KEY_FILE win over it.",
    )
    api_key_command: tuple[str, ...] = pydantic.Field(
        default=(),
        strict=False,
        description="Command and arguments that print the secret key, used if neither variable nor file is set.",
    )
    ca_file: str = pydantic.Field(
        default="", description="File with certificates of authorities to trust in addition to the well-known ones."
    )
    proxy_url: Annotated[str, pydantic.AfterValidator(urls.proxy)] = pydantic.Field(
        default="",
        description="HTTP proxy to reach Charge through, with CONNECT; empty for none. "
        "Proxy variables in the environment are ignored.",
    )
    proxy_url_file: str = pydantic.Field(
        default="", description="File that contains the proxy's address with user and password; instead of proxy_url."
    )
    timeout_seconds: float = pydantic.Field(
        default=30,
        gt=0,
        le=600,
        description="Deadline of one request, from connecting to the last byte of the response.",
    )
    page_size: int = pydantic.Field(default=100, ge=1, le=100, description="Objects in one page of a listing.")

    @pydantic.field_validator("proxy_url", "proxy_url_file")
    @classmethod
    def _only_with_tls(cls, proxy: str, info: pydantic.ValidationInfo) -> str:
        if proxy and info.data.get("base_url", "").startswith("http:"):
            raise ValueError("through a proxy, plain http would expose the key: write an https base_url")
        if proxy and info.data.get("proxy_url"):
            raise ValueError("charge.proxy_url is set too: keep one of the two")
        return proxy


class Sync(section.Section):
    """How fleets are reconciled, and how often."""

    apply: bool = pydantic.Field(
        default=True,
        description="Whether changes are made. With false, runs only plan, and nothing is written to Charge.",
    )
    mode: _Mode = pydantic.Field(
        default=Mode.EXACT,
        description="exact attaches and detaches; additive never detaches. A mode set on a fleet wins.",
    )
    interval_seconds: float = pydantic.Field(
        default=300, ge=0.01, le=604_800, description="Pause between two reconciliations of the service."
    )
    interval_jitter: Fraction = pydantic.Field(
        default=0.1,
        description="Fraction of the interval by which it varies, so that many services do not run in step.",
    )
    detach_grace_seconds: float = pydantic.Field(
        default=0,
        ge=0,
        le=31_536_000,
        description="How long a membership must be absent from the sources before it is detached.",
    )
    timezone: Annotated[str, pydantic.AfterValidator(time_zones.check)] = pydantic.Field(
        default="UTC",
        description='Time zone for dates without a time, as in "Europe/Paris"; "fleet" for the time zone of each fleet '
        "in Charge.",
    )
    drain_seconds: float = pydantic.Field(
        default=10, ge=0, le=600, description="How long writes in flight may take to finish after SIGTERM or SIGINT."
    )


class RateLimit(section.Section):
    """How fast requests are sent to Charge."""

    requests_per_second: float = pydantic.Field(
        default=25, ge=0.01, le=10_000, description="Ceiling for all requests of this account together."
    )
    burst: int = pydantic.Field(
        default=10, ge=1, le=10_000, description="Requests that may be sent in a row without a pause."
    )
    concurrency: int = pydantic.Field(default=16, ge=1, le=256, description="Requests in flight at once.")
    adaptive: bool = pydantic.Field(
        default=True, description="Slow down on 429, and find an unknown limit automatically."
    )


class Retry(section.Section):
    """How often and how late a request is retried."""

    max_attempts: int = pydantic.Field(
        default=6, ge=1, le=100, description="Attempts per request, including the first."
    )
    base_seconds: float = pydantic.Field(
        default=0.5, gt=0, le=600, description="Longest pause before the second attempt."
    )
    max_seconds: float = pydantic.Field(default=30, gt=0, le=3600, description="Longest pause before any attempt.")
    late_effect_seconds: float = pydantic.Field(
        default=120,
        ge=0,
        le=3600,
        description="How long after its last attempt a write without a clear answer may still take effect.",
    )

    @pydantic.field_validator("max_seconds")
    @classmethod
    def _not_below_base(cls, seconds: float, info: pydantic.ValidationInfo) -> float:
        if seconds < info.data.get("base_seconds", 0):
            raise ValueError("must not be less than base_seconds")
        return seconds


class Guard(section.Section):
    """Which changes are held until a person approves them."""

    max_detach_fraction_per_fleet: Fraction = pydantic.Field(
        default=0.25, description="Fraction of a fleet's members that may be detached without approval."
    )
    max_detach_fraction: Fraction = pydantic.Field(
        default=0.10, description="Fraction of all memberships in managed fleets that may be detached without approval."
    )
    always_allow: int = pydantic.Field(
        default=2, ge=0, le=1_000_000, description="This many detaches per fleet, and per run, are never held."
    )
    window_hours: float = pydantic.Field(
        default=24.0,
        ge=0.01,
        le=8760,
        description="The two fractions and always_allow count what was detached within this time without approval.",
    )
    max_attach_fraction_per_fleet: Fraction | None = pydantic.Field(
        default=None,
        description="Fraction of a fleet's members that may be attached within window_hours without approval. The "
        "first 20 are never held. Without it there is no limit; 0 holds every further attach.",
    )
    allow_emptying_fleets: bool = pydantic.Field(
        default=False, description="Whether a fleet may lose its last member without approval."
    )
    must_see: tuple[Membership, ...] = pydantic.Field(
        default=(),
        strict=False,
        description="Memberships, as drv_…/flt_…, that certainly exist. If one is not found, nothing is detached.",
    )
    ignore_drivers: tuple[Driver, ...] = pydantic.Field(
        default=(),
        strict=False,
        description="Drivers that are never attached or detached: ids, e-mail addresses or key=value.",
    )
    unmanaged: tuple[FleetReference, ...] = pydantic.Field(
        default=(),
        strict=False,
        description="Fleets, by id or exact name, that were taken out of the sources on purpose. Any other fleet that "
        "vanishes from them is reported in every run.",
    )
    max_unresolved_fraction: Fraction = pydantic.Field(
        default=0.10,
        description="A higher fraction of unresolved references, of at least 20, ends the run without changes.",
    )


class Journal(section.Section):
    """The record of every write, made before the write is sent."""

    url: Annotated[str, pydantic.AfterValidator(urls.journal)] = pydantic.Field(
        default="sqlite:///fleet-sync.db",
        json_schema_extra={"pattern": urls.JOURNAL_PATTERN},
        description="Database of the journal: sqlite:/// and a path, or postgresql://…",
    )
    keep_days: int = pydantic.Field(
        default=400, ge=0, le=36_500, description="How long finished runs are kept; 0 keeps them forever."
    )


class Status(section.Section):
    """The HTTP server of the service."""

    listen: Annotated[str, pydantic.AfterValidator(urls.listen)] = pydantic.Field(
        default="",
        json_schema_extra={"pattern": urls.LISTEN_PATTERN},
        description="Host and port of the status page, as 127.0.0.1:8080; empty for none. "
        "Anyone who can connect can read it, so the host is required, as in 0.0.0.0:8080.",
    )
    anonymous_read: bool | None = pydantic.Field(
        default=None,
        description="Whether pages are shown without signing in. Without this key: only while listen is a loopback "
        "address and no token is set. Probes and metrics are always open.",
    )


Event = Literal["held", "refused", "broken", "recovered"]


class Notify(section.Section):
    """Where to send notifications. There may be several, each with two brackets around its name."""

    kind: Literal["webhook", "slack", "teams", "pagerduty"] = pydantic.Field(
        default="webhook", description="What the receiver accepts; webhook: the documented JSON."
    )
    url: Annotated[str, pydantic.AfterValidator(urls.webhook)] = pydantic.Field(
        default="",
        description="Address to post notifications to; empty for none. https only, except for loopback addresses.",
    )
    url_file: str = pydantic.Field(
        default="",
        description="File that contains the address, if it is a secret; instead of url. For pagerduty, the file may "
        "contain just the routing key.",
    )
    events: tuple[Event, ...] = pydantic.Field(
        default=("held", "refused", "broken", "recovered"), strict=False, description="What to send notifications of."
    )

    @pydantic.field_validator("url_file")
    @classmethod
    def _not_both(cls, file: str, info: pydantic.ValidationInfo) -> str:
        if file and info.data.get("url"):
            raise ValueError("notify.url is set too: keep one of the two")
        return file


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where an account of a folder has its key: a variable, a file or a command; `setting` is what names it."""

    variable: str = ""
    file: str = ""
    command: tuple[str, ...] = ()
    setting: str = ""


_DEFAULTS: Any = pydantic.Field(default_factory=dict, validate_default=True)
"""A section that the file leaves out. It is not built here: that would build the section's validator at each start."""


class Settings(section.Section):
    """Settings of fleet-sync: one account, its sources, its limits, its journal."""

    plugins: tuple[str, ...] = pydantic.Field(
        default=(), strict=False, description="Installed distributions whose kinds of sources may be used."
    )
    charge: Charge = _DEFAULTS
    sources: tuple[source_kinds.Source, ...] = pydantic.Field(
        min_length=1,
        strict=False,
        description="Where the desired memberships are written. Several sources are combined.",
    )
    sync: Sync = _DEFAULTS
    rate_limit: RateLimit = _DEFAULTS
    retry: Retry = _DEFAULTS
    guard: Guard = _DEFAULTS
    journal: Journal = _DEFAULTS
    status: Status = _DEFAULTS
    notify: tuple[Notify, ...] = pydantic.Field(
        default_factory=lambda: [{}],
        validate_default=True,
        strict=False,
        description="Where to send notifications; a single table is accepted too.",
    )

    @pydantic.field_validator("sources")
    @classmethod
    def _distinct_names(cls, sources: tuple[source_kinds.Source, ...]) -> tuple[source_kinds.Source, ...]:
        seen = set[str]()
        for source in sources:
            if source.title in seen:
                raise ValueError("two sources have the same name or address: set the name of one of them")
            seen.add(source.title)
        return sources

    _folder: pathlib.Path = pydantic.PrivateAttr(default=pathlib.Path())
    _account: str = pydantic.PrivateAttr(default="")
    _key_place: KeyPlace | None = pydantic.PrivateAttr(default=None)

    @pydantic.field_validator("notify", mode="before")
    @classmethod
    def _several(cls, written: object) -> object:
        """Accept a single `[notify]`, too."""
        return [written] if isinstance(written, dict) else written

    def resolve_path(self, path: str) -> pathlib.Path:
        """Return a path from the settings; a relative one is relative to the settings file."""
        return self._folder / path

    @property
    def journal_url(self) -> str:
        """Return the journal's address, with an absolute path if it is a file."""
        if not self.journal.url.startswith(urls.SQLITE):
            return self.journal.url
        path = self.resolve_path(self.journal.url.removeprefix(urls.SQLITE))
        return f"{urls.SQLITE}{path.absolute()}"

    @property
    def account(self) -> str:
        """Return the name of the account in its folder; empty if the settings are a file of their own."""
        return self._account

    @property
    def journal_account(self) -> str:
        """Return the account's name in its journal: accounts share a database of PostgreSQL, but never a file."""
        return "default" if not self._account or self.journal.url.startswith(urls.SQLITE) else self._account

    @property
    def key_place(self) -> KeyPlace | None:
        """Return where the account of a folder has its key; None if the environment may say it."""
        return self._key_place

    def of_account(self, name: str, folder: pathlib.Path, *, key_place: KeyPlace) -> "Settings":
        """Return these settings as those of an account in a folder of accounts."""
        copy = self.in_folder(folder)
        copy._account, copy._key_place = name, key_place
        return copy

    def in_folder(self, folder: pathlib.Path) -> "Settings":
        """Return these settings with `folder` as the base of their relative paths."""
        copy = self.model_copy()
        copy._folder = folder
        return copy


SECTIONS: Mapping[str, type[section.Section]] = {
    "charge": Charge,
    "sources": source_kinds.FileSource,
    "sync": Sync,
    "rate_limit": RateLimit,
    "retry": Retry,
    "guard": Guard,
    "journal": Journal,
    "status": Status,
    "notify": Notify,
}
"""The class of each section; for `sources`, the class of a source without `kind`."""

RENAMED_SECTIONS: Mapping[str, str] = {"pace": "rate_limit"}
"""Former names of sections, which are errors, and their present names."""
