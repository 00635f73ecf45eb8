"""Invented people and fleets: names that look like an account, the same for the same seed.

Invariant: every e-mail address and every fleet name is given out once; every address ends in `example.com`.
Neighbours: `roster` asks for them and decides who is in which fleet.
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
    """Make a source of choices that gives the same ones for the same seed."""
    return random.Random(seed)


def identifier(prefix: str, rng: random.Random) -> str:
    """Make an id: the prefix and 32 letters or digits."""
    return f"{prefix}_{''.join(rng.choices(LETTERS_AND_DIGITS, k=32))}"


def drivers(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Name people without end, each with an e-mail address that nobody else has."""
    taken: dict[str, int] = {}
    while True:
        name = f"{rng.choice(FIRST)} {rng.choice(LAST)}"
        local = slug(name)
        count = taken[local] = taken.get(local, 0) + 1
        yield name, f"{local}{count if count > 1 else ''}@example.com"


def fleets() -> Iterator[str]:
    """Name fleets without end, none twice, each city once before any comes again."""
    for lap in itertools.count(1):
        for shift, (place, city) in itertools.product(range(len(KINDS)), enumerate(CITIES)):
            name = f"{city} {KINDS[(place + shift) % len(KINDS)]}"
            yield name if lap == 1 else f"{name} {lap}"


def slug(name: str) -> str:
    """Write a name as it stands in an address: small plain letters, dots between the words."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(_PLAIN)).encode("ascii", "ignore").decode()
    return ".".join(plain.split())
