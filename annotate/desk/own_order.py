"""The order in which an annotator meets the items of a campaign: everyone has an order of their own.

The random order of the campaign's seed is divided into blocks. All annotators go through the blocks in the same order,
so that items soon have answers of several people, but each starts within a block at a place of their own, and goes
round. A block holds about `BLOCK` items. It is the whole campaign if nobody waits for a second answer to an item: if
each item needs one answer, or if everyone answers every item.

A place in this order is a number like a position. A step costs a few look-ups in an index of positions, however many
items there are. A stored cursor names the number of blocks as well: after a change of the campaign's size it is no
place in the new order, and the annotator begins again, without the items that they have answered.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from annotate.common.randomness import uniform
from annotate.desk import participants
from annotate.models import Campaign, Membership

BLOCK = 32
DIGEST_BITS = 56  # of a position, without the place of the question
PLACE_BITS = 58
Found = TypeVar("Found")


@dataclass(frozen=True)
class OwnOrder:
    """The order of one annotator. There are 2 ** `level` blocks. step: positions of one pair, which stay together."""

    seed: str
    level: int
    step: int

    @property
    def width(self) -> int:
        """Positions of a block."""
        return (self.step << DIGEST_BITS) >> self.level

    def cursor(self, place: int) -> int:
        """Return the stored form of a place."""
        return (self.level << PLACE_BITS) + place if place >= 0 else -1

    def place_at(self, cursor: int) -> int:
        """Return the place of a stored cursor, or -1 if it is of another order."""
        return cursor % 2**PLACE_BITS if cursor >= 0 and cursor >> PLACE_BITS == self.level else -1

    def place_of(self, position: int) -> int:
        """Return the item's place in this order."""
        start = position - position % self.width
        return start + (position - start - self._offset(start)) % self.width

    def block_of(self, position: int) -> int:
        """Return the first position of the block."""
        return position - position % self.width

    def rest_of_block(self, after: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of positions, low to high - 1, that come after a place in its block, in this order."""
        start = after - after % self.width
        turn = start + self._offset(start)  # where the annotator starts
        end = start + self.width
        next_place = after + 1
        if next_place < start + (end - turn):
            yield turn + next_place - start, end
            yield start, turn
        else:
            yield next_place - (end - turn), turn

    def ranges(self, start: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of a block in this order."""
        turn = start + self._offset(start)
        yield turn, start + self.width
        yield start, turn

    def _offset(self, start: int) -> int:
        drawn = int(uniform(f"{self.seed}/{start // self.width}") * self.width)
        return drawn - drawn % self.step


def order_of(membership: Membership) -> OwnOrder:
    campaign = membership.campaign
    step = len(campaign.questions)
    level = 0 if _needs_no_company(campaign) else max(0, (campaign.item_count // BLOCK).bit_length() - 1)
    return OwnOrder(f"{campaign.seed}/order/{membership.annotator_id}", level, step)


def _needs_no_company(campaign: Campaign) -> bool:
    return campaign.overlap == 1 or participants.is_for_all(campaign)


def first_after(
    order: OwnOrder,
    after: int,
    fetch: Callable[[int, int], Found | None],
    first_position: Callable[[int], int | None],
) -> Found | None:
    """Return the first item after a place in the order, -1 for the beginning.

    fetch: returns the first item at low <= position < high, and may find none although there are some: others have
    locked them. first_position: returns the first position from this one on.
    """
    block = 0
    if after >= 0:
        if found := _first_in(order.rest_of_block(after), fetch):
            return found
        block = order.block_of(after) + order.width
    while (position := first_position(block)) is not None:
        block = order.block_of(position)
        if found := _first_in(order.ranges(block), fetch):
            return found
        block += order.width
    return None


def _first_in(ranges: Iterable[tuple[int, int]], fetch: Callable[[int, int], Found | None]) -> Found | None:
    for low, high in ranges:
        if low < high and (found := fetch(low, high)):
            return found
    return None
