"""The files that a new account starts with: settings and a membership document, with comments.

Invariant: the settings load as they are, and so does the document; what is commented out is a default. Neighbours:
`model` defines the keys, `cli.init` writes the files.
"""

import json

_SETTINGS = """\
# The settings of one account. A key that is left out has its default; an unknown key is an error.
# docs/reference/settings.md describes all keys, and `fleet-sync schema settings` prints their JSON Schema.

[charge]
base_url = {base_url}
{key}
# Where you write down who belongs to which fleet. Repeat this section for more sources.
[[sources]]
path = {document}

[sync]
# mode = "exact"         # "additive" never detaches anyone
# interval_seconds = 300 # pause between two reconciliations of `fleet-sync run`

# Changes beyond these limits are held until you approve them.
[guard]
# max_detach_fraction_per_fleet = 0.25 # of the members of a fleet
# max_detach_fraction = 0.10           # of all memberships in managed fleets
# always_allow = 2                     # this many detaches per fleet, and per run, are never held
{status}"""

_KEY = """\
# The secret key is never written here. Set CHARGE_API_KEY, or name a file that contains the key:
# api_key_file = ""
"""
_KEY_IN_FOLDER = """\
# The secret key is never written here. It is where [secrets] in _defaults.toml says, or in a file:
# api_key_file = ""
"""
_STATUS = """
[status]
# listen = ""            # "127.0.0.1:8080" serves the status page of `fleet-sync run`
"""

MEMBERSHIP = """\
# Who should be in which fleet: a sample. Replace it with your own fleets and drivers.
#
# A fleet that is listed here is managed: listed drivers are attached and all others are detached.
# A fleet that is not listed is never touched.

fleets:
  Paris vans: # a fleet by its name, or by its id: flt_…
    - alice@example.com # a driver by e-mail address,
    - employee_id=10042 # by an entry of the driver's metadata, or by id: drv_…
    - {driver: bob@example.com, from: 2027-01-01, note: starts in January}
"""
"""A membership document that shows each kind of reference. It names no one in a real account."""


def settings(base_url: str, *, document: str, in_folder: bool = False) -> str:
    """Return a settings file for the API at this address and this membership document, alone or in a folder."""
    # A JSON string without escapes beyond those of TOML: both are valid addresses and paths.
    return _SETTINGS.format(
        base_url=json.dumps(base_url),
        document=json.dumps(document),
        key=_KEY_IN_FOLDER if in_folder else _KEY,
        status="" if in_folder else _STATUS,
    )
