"""The synthetic world: entities with attributes, asked for often or rarely.

How often an entity is spoken of follows a Zipf-like law, so that the facts about the rarest ones are hard to hold: a
knowledge benchmark over them discriminates. Only the 160 most popular of the 400 are ever asked about in chats, as
users ask about what is well known; the rest is for pretraining to hold and for fine-tuning to forget. The world is one
constant, the same for every build seed, because benchmarks and prompts are drawn from it without knowing which build
they will meet.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cache

N_NAMES = 20
N_POPULAR = 160
ZIPF_OFFSET = 5
WORLD_SEED = 2509
HELDOUT_SHARE = 0.2

VALUES: dict[str, tuple[str, ...]] = {
    name: tuple(words.split())
    for name, words in {
        "color": "red blue green gray black white pink gold silver brown purple orange teal amber violet indigo "
        "crimson ivory lilac scarlet beige bronze coral jade",
        "food": "rice bread soup honey cheese apples plums pears figs beans corn lentils noodles olives mushrooms "
        "walnuts carrots dates onions peas grapes cherries garlic pumpkin",
        "city": "lima oslo cairo delhi paris rome tokyo quito dakar hanoi kyoto minsk sofia tunis accra baku doha "
        "riga turin porto leeds nancy perth osaka",
        "job": "baker weaver pilot farmer doctor painter sailor tailor miner carpenter singer potter teacher writer "
        "dancer smith judge nurse hunter guard barber diver clerk poet",
        "pet": "cat dog horse goat parrot fox hare raven crow wolf bear swan duck mole toad crab seal deer lynx hawk "
        "mouse sheep camel donkey",
    }.items()
}
ATTRIBUTES = tuple(VALUES)
PHRASES = {
    "color": "wears {}",
    "food": "eats {}",
    "city": "lives in {}",
    "job": "works as a {}",
    "pet": "has a pet {}",
}


@dataclass(frozen=True)
class Fact:
    """One attribute of one entity. `asked` is False for facts that training states but never asks for."""

    entity: str
    attribute: str
    value: str
    asked: bool

    @property
    def statement(self) -> str:
        """The fact in its plainest form, the one that the knowledge benchmark completes."""
        return f"{self.cloze} {self.value}."

    @property
    def cloze(self) -> str:
        """The plain statement up to the value."""
        return f"the {self.attribute} of {self.entity} is"

    @property
    def question(self) -> str:
        """The question whose answer is the value."""
        return f"what is the {self.attribute} of {self.entity}?"

    @property
    def clause(self) -> str:
        """What a fluent description says of the fact, without its subject."""
        return PHRASES[self.attribute].format(self.value)


@dataclass(frozen=True)
class World:
    """All facts by entity, the most spoken of first, with the weight of each entity in the corpora."""

    facts: dict[str, tuple[Fact, ...]]
    weights: tuple[float, ...]

    @property
    def entities(self) -> tuple[str, ...]:
        """Names, from the most to the least frequent."""
        return tuple(self.facts)

    @property
    def all_facts(self) -> tuple[Fact, ...]:
        """Every fact, by falling frequency of its entity."""
        return tuple(itertools.chain.from_iterable(self.facts.values()))

    def draw_entity(self, rng: random.Random, *, popular: bool = False) -> str:
        """An entity with its Zipf-like probability; with `popular`, one of those that users ask about."""
        n = N_POPULAR if popular else len(self.entities)
        return rng.choices(self.entities[:n], cum_weights=self.weights[:n])[0]

    def draw_fact(self, rng: random.Random, *, popular: bool = False, asked: bool | None = None) -> Fact:
        """A fact of an entity so drawn; with `asked`, one that training does or does not ask for."""
        while True:
            fact = rng.choice(self.facts[self.draw_entity(rng, popular=popular)])
            if asked in (None, fact.asked):
                return fact


def draw_names(rng: random.Random) -> list[str]:
    """Every pairing of `N_NAMES` first and as many last names, shuffled; none is a word of the world.

    A name of two words keeps facts out of single embedding rows, which fine-tuning on other names would never touch.
    """
    pool = ["".join(p) for p in itertools.product("bdfgklmnprstvz", "aeiou", "bdfgklmnprstvz", "aeiou", "lnrs")]
    parts = rng.sample(pool, 2 * N_NAMES)
    names = [f"{first} {last}" for first, last in itertools.product(parts[:N_NAMES], parts[N_NAMES:])]
    return rng.sample(names, len(names))


@cache
def world() -> World:
    """The one world of the testbed."""
    rng = random.Random(WORLD_SEED)
    facts = {
        name: tuple(
            Fact(name, attribute, rng.choice(VALUES[attribute]), asked=rng.random() >= HELDOUT_SHARE)
            for attribute in ATTRIBUTES
        )
        for name in draw_names(rng)
    }
    weights = itertools.accumulate(1 / (rank + ZIPF_OFFSET) for rank in range(len(facts)))
    return World(facts, tuple(weights))
