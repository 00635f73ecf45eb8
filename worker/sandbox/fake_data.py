"""Fake drivers and fleets with realistic names, the same for the same seed.

Invariant: e-mail addresses and fleet names are unique, and every address ends in `example.com`.
Neighbours: `state` populates an account from them and chooses the memberships.
"""

import itertools
import random
import string
import unicodedata
from collections.abc import Iterator

LETTERS_AND_DIGITS = string.ascii_letters + string.digits

_FIRST = (
    "Alice Amélie Antoine Benoît Camille Carlos Chiara Chloé Clara Daniel David Elena Emma Fatima Felix Fernando "
    "Giulia Hannah Hugo Inès Ingrid Jan Jeanne João Jonas Julie Karim Katarzyna Lars Laura Léa Louis Lucas Luca "
    "Manon Marco Maria Marta Mathieu Mehdi Mia Nadia Nicolas Nina Noah Olivier Paula Pierre Piotr Raphaël Sarah "
    "Sofia Søren Sven Thomas Tomás Valérie Victor Yasmine Zoé"
)
_LAST = (
    "Andersen Bakker Barbieri Bauer Bernard Bianchi Blanc Bonnet Costa Dubois Dupont Durand Fernández Ferrari Fischer "
    "Fontaine Fournier García Garnier Girard González Haddad Hansen Hoffmann Jansen Kowalski Lambert Lefebvre Legrand "
    "Leroy López Marchand Martin Mercier Meyer Moreau Moretti Müller Nguyen Nielsen Novák Olsen Petit Ricci Richter "
    "Robert Roussel Rousseau Santos Schmidt Schneider Silva Simon Smit Traoré Vidal Visser Wagner Weber Wójcik"
)
_CITIES = (
    "Paris Lyon Lille Nantes Bordeaux Toulouse Marseille Strasbourg Rennes Grenoble Brussels Antwerp Amsterdam "
    "Rotterdam Berlin Hamburg Munich Milan Turin Madrid Barcelona Lisbon Porto Copenhagen"
)
FIRST, LAST, CITIES = _FIRST.split(), _LAST.split(), _CITIES.split()
KINDS = ("vans", "depot", "taxis", "couriers", "pool cars", "night shift", "field service")

_PLAIN = str.maketrans({"ø": "o", "ł": "l", "ß": "ss"})


def generator(seed: int) -> random.Random:
    """Return a random generator that depends on the seed alone."""
    return random.Random(seed)


def identifier(prefix: str, rng: random.Random) -> str:
    """Return a new id: the prefix and 32 letters or digits."""
    return f"{prefix}_{''.join(rng.choices(LETTERS_AND_DIGITS, k=32))}"


def drivers(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield names with unique e-mail addresses, without end."""
    taken: dict[str, int] = {}
    while True:
        name = f"{rng.choice(FIRST)} {rng.choice(LAST)}"
        local = slug(name)
        count = taken[local] = taken.get(local, 0) + 1
        yield name, f"{local}{count if count > 1 else ''}@example.com"


def fleets() -> Iterator[str]:
    """Yield unique fleet names without end, using every city once before repeating one."""
    for lap in itertools.count(1):
        for shift, (place, city) in itertools.product(range(len(KINDS)), enumerate(CITIES)):
            name = f"{city} {KINDS[(place + shift) % len(KINDS)]}"
            yield name if lap == 1 else f"{name} {lap}"


def slug(name: str) -> str:
    """Return a name as the local part of an address: lower-case ASCII letters, words joined by dots."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(_PLAIN)).encode("ascii", "ignore").decode()
    return ".".join(plain.split())
