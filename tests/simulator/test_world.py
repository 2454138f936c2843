from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest

from simulator.clock import rfc3339
from simulator.failures import ApiError
from simulator.harness import SimulatorServer
from simulator.movement import Cadence, Fix, metres, move, recording, recording_names
from simulator.people import Person
from simulator.world import Habits, World

ANN, BEN = "+12025550147", "+12025550148"
LINE, OTHER_LINE = "+14155550100", "+14155550101"


def world_of(*people: Person, **habits: float | bool | None) -> World:
    world = World(Habits(**habits), (LINE, OTHER_LINE))  # type: ignore[arg-type]  # the test's own keywords
    for person in people:
        world.add_person(person)
    return world


def handles(world: World, chat_id: str, now: float) -> list[str]:
    world.advance(now)
    return [feature["properties"]["handle"] for feature in world.read(chat_id, now)]


def refusal(world: World, chat_id: str, now: float) -> ApiError:
    world.advance(now)
    with pytest.raises(ApiError) as refused:
        world.request(chat_id, now)
    return refused.value


def test_a_contact_accepts_after_a_while_and_the_first_position_follows() -> None:
    world = world_of(Person(ANN, accepts_after=10))
    chat = world.add_chat([ANN], 1000)
    world.request(chat.id, 1000)
    assert world.next_due() == 1010
    assert handles(world, chat.id, 1009.9) == []
    assert handles(world, chat.id, 1011) == []
    assert handles(world, chat.id, 1011.5) == [ANN]
    (event,) = world.outbox
    assert event.event_type == "location.sharing.started"
    assert event.data == {
        "shared_by": ANN,
        "shared_with": LINE,
        "began_at": "1970-01-01T00:16:50Z",
        "ends_at": None,
        "chat_id": chat.id,
    }


def test_speed_shortens_the_story_but_not_the_clock() -> None:
    world = world_of(Person(ANN, accepts_after=100, shares_for=1000), speed=100.0)
    chat = world.add_chat([ANN], 1000)
    world.request(chat.id, 1000)
    assert handles(world, chat.id, 1001.5) == [ANN]
    assert handles(world, chat.id, 1011.5) == []
    assert world.outbox[-1].data["ended_at"] == "1970-01-01T00:16:51Z"


def test_a_contact_may_never_accept() -> None:
    world = world_of(Person(ANN, accepts_after=None))
    chat = world.add_chat([ANN], 0)
    world.request(chat.id, 0)
    assert handles(world, chat.id, 1e6) == []


def test_a_second_prompt_comes_too_soon_and_then_is_seen() -> None:
    world = world_of(Person(ANN, accepts_after=None))
    chat = world.add_chat([ANN], 0)
    world.request(chat.id, 0)
    refused = refusal(world, chat.id, 12.5)
    assert (refused.code, refused.header) == (1007, "18")
    world.request(chat.id, 30)
    assert chat.prompts == 2


@pytest.mark.parametrize("code", [2030, 2015, None])
def test_who_shares_already_is_not_prompted(code: int | None) -> None:
    world = world_of(Person(ANN), already_sharing_code=code)
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 0)
    status, content = refusal(world, chat.id, 0).linq("0" * 32)
    assert status == 409
    assert content["error"].get("code") == code
    assert chat.prompts == 0


def test_a_limited_share_ends_and_can_be_prolonged() -> None:
    world = world_of(Person(ANN, shares_for=100))
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 0)
    world.start_sharing(ANN, 50)
    assert handles(world, chat.id, 149) == [ANN]
    assert handles(world, chat.id, 150) == []
    began = {event.data["began_at"] for event in world.outbox}
    assert began == {"1970-01-01T00:00:00Z"}


def test_an_end_may_pass_in_silence_and_a_position_may_linger() -> None:
    world = world_of(Person(ANN, shares_for=100), announces_expiry=False, lingers_for=5.0)
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 0)
    assert handles(world, chat.id, 104) == [ANN]
    assert handles(world, chat.id, 105.1) == []
    assert len(world.outbox) == 1


def test_a_share_that_ran_before_ends_as_long_after_now_as_planned() -> None:
    world = world_of(Person(ANN, shares_for=30))
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 1000, since=60.0)
    assert handles(world, chat.id, 1000) == [ANN]
    assert handles(world, chat.id, 1029) == [ANN]
    assert handles(world, chat.id, 1030) == []


def test_a_position_that_lingers_does_not_move() -> None:
    world = world_of(Person(ANN, recording="phpgpx-endomondo", shares_for=600), lingers_for=1000.0)
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 0)
    world.advance(600)
    assert world.read(chat.id, 601) == world.read(chat.id, 1500) != []


@pytest.mark.parametrize("recorded", ["phpgpx-endomondo", None])
def test_an_old_stored_position_may_come_first_and_the_live_one_follows(recorded: str | None) -> None:
    world = world_of(Person(ANN, recording=recorded, offset=3600, stored_age=1800), live_after=4.0)
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 10_000)
    assert world.read(chat.id, 10_001.4) == []
    (old,) = world.read(chat.id, 10_001.5)
    assert old["properties"]["updated_at"] == rfc3339(10_001.5 - 1800)
    assert world.read(chat.id, 10_005.4) == [old]
    (live,) = world.read(chat.id, 10_005.5)
    assert live["properties"]["updated_at"] == rfc3339(10_005.5)
    moved = metres(Fix(*old["geometry"]["coordinates"]), Fix(*live["geometry"]["coordinates"]))
    assert (moved > 100) == (recorded is not None), "they were there, and then, half an hour ago"


def test_every_place_has_an_address_and_always_the_same() -> None:
    world = world_of(Person(ANN, recording="phpgpx-endomondo"))
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 0)
    seen = [world.read(chat.id, second)[0] for second in range(2, 7200, 60)]
    addresses = {tuple(one["geometry"]["coordinates"]): one["properties"]["address"] for one in seen}
    assert len(set(addresses.values())) > 10
    for one in seen:
        properties = one["properties"]
        assert properties["address"] == addresses[tuple(one["geometry"]["coordinates"])]
        assert properties["address"].endswith(f", {properties['locality']}")


@pytest.mark.parametrize(("after", "known"), [(0.0, [True, True]), (20.0, [False, True]), (None, [False, False])])
def test_an_address_may_come_later_than_its_position_or_never(after: float | None, known: list[bool]) -> None:
    world = world_of(Person(ANN, address_after=after))
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 0)
    (first,), (second,) = world.read(chat.id, 21.4), world.read(chat.id, 21.5)
    assert ["address" in one["properties"] for one in (first, second)] == known
    assert ["locality" in one["properties"] for one in (first, second)] == known
    assert first["properties"]["updated_at"] == second["properties"]["updated_at"]


def test_an_order_to_stop_may_take_effect_later() -> None:
    world = world_of(Person(ANN), stop_takes=5.0)
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 0)
    world.stop(chat.id, ANN, 10)
    world.stop(chat.id, ANN, 11)  # accepted twice, ended once
    assert handles(world, chat.id, 14.9) == [ANN]
    assert handles(world, chat.id, 15) == []
    assert world.outbox[-1].data["ended_at"] == rfc3339(15)
    world.start_sharing(ANN, 15.5)
    assert handles(world, chat.id, 30) == [ANN], "the second order was about the share before"
    assert [event.event_type.rpartition(".")[2] for event in world.outbox] == ["started", "stopped", "started"]


def test_a_share_is_readable_in_every_chat_of_the_line_and_ends_in_all() -> None:
    world = world_of(Person(ANN), Person(BEN))
    alone, group = world.add_chat([ANN], 0), world.add_chat([ANN, BEN], 0)
    elsewhere = world.add_chat([ANN], 0, line=OTHER_LINE)
    world.start_sharing(ANN, 0)
    world.start_sharing(BEN, 0)
    assert handles(world, alone.id, 5) == [ANN]
    assert handles(world, group.id, 5) == [ANN, BEN]
    assert handles(world, elsewhere.id, 5) == []
    world.stop(group.id, ANN, 6)
    assert handles(world, alone.id, 7) == []
    assert handles(world, group.id, 7) == [BEN]
    group.left.add(BEN)
    assert handles(world, group.id, 8) == []


def test_a_share_under_an_apple_id_is_readable_only_in_a_chat_with_that_address() -> None:
    address = "Ann@Example.org"
    world = world_of(Person(ANN, shares_as=address))
    by_number, by_address = world.add_chat([ANN], 0), world.add_chat([address], 0)
    world.request(by_number.id, 0)
    assert handles(world, by_number.id, 5) == []
    assert handles(world, by_address.id, 5) == [address]
    assert world.outbox[0].data["shared_by"] == address
    assert refusal(world, by_number.id, 60).code == 2030


def test_a_new_chat_is_being_created_for_a_moment() -> None:
    world = world_of(Person(ANN))
    chat, new = world.create_chat(LINE, [ANN], "iMessage", 0)
    assert new
    assert refusal(world, chat.id, 1.9).code == 2009
    world.request(chat.id, 2)
    assert world.create_chat(LINE, [ANN], "iMessage", 3) == (chat, False)


def test_refused_lines_do_not_prompt_but_read() -> None:
    world = world_of(Person(ANN))
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 0)
    world.refused_lines[LINE] = 2027
    assert refusal(world, chat.id, 5).code == 2027
    assert handles(world, chat.id, 5) == [ANN]


@pytest.mark.parametrize("name", recording_names())
def test_a_recorded_journey_is_published_at_the_pace_of_a_phone(name: str) -> None:
    cadence = Cadence()
    world = world_of(Person(ANN, recording=name, offset=1000))
    chat = world.add_chat([ANN], 0)
    world.start_sharing(ANN, 0)
    seen: dict[str, Fix] = {}
    for second in range(2, 7200, 5):
        (feature,) = world.read(chat.id, second)
        seen[feature["properties"]["updated_at"]] = Fix(*feature["geometry"]["coordinates"])
    times = sorted(seen)
    assert times == list(seen), "a later position has an earlier time"
    assert 7200 / cadence.still[1] - 1 <= len(seen) <= 7200 / cadence.moving[0] + 1
    assert sum(metres(a, b) for a, b in zip(seen.values(), list(seen.values())[1:], strict=False)) > 100


def test_where_a_journey_leads_can_be_asked_before() -> None:
    with SimulatorServer() as simulator:
        chat = simulator.add_person(recording="phpgpx-endomondo", offset=1000)
        ahead = {second: simulator.place_ahead(chat, second) for second in range(3600)}
        standing = simulator.add_person(longitude=13.4, latitude=52.5)
        assert simulator.place_ahead(standing, 60) == Fix(13.4, 52.5)
    world, handle = simulator.world, simulator.world.chats[chat].handles[0]
    world.start_sharing(handle, 0)
    for second in range(2, 3600, 5):
        (shown,) = world.read(chat, second)
        published = datetime.fromisoformat(shown["properties"]["updated_at"]).timestamp() - 1.5
        assert Fix(*shown["geometry"]["coordinates"]) == ahead[int(published)]


def test_a_journey_does_not_depend_on_who_looks_and_when() -> None:
    shown = []
    for looks in (range(10, 3001, 10), [3000]):
        world = world_of(Person(ANN, recording="phpgpx-endomondo"))
        chat = world.add_chat([ANN], 0)
        world.start_sharing(ANN, 0)
        shown.append([world.read(chat.id, second) for second in looks][-1])
    assert shown[0] == shown[1]


def test_an_unknown_recording_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="there are georust-garmin-long, gpxpy-korita, phpgpx-endomondo"):
        recording("atlantis")


def test_a_person_needs_a_handle() -> None:
    with pytest.raises(ValueError, match="is not a handle"):
        world_of(Person("Ann"))


@pytest.mark.parametrize("course", [0, 90, 137.5, 359])
def test_a_journey_is_moved_to_its_start_and_turned_and_keeps_its_distances(course: float) -> None:
    walked = recording("gpxpy-korita")
    anchor, start = walked.at(4000), Fix(13.4, 52.5)
    moved = [move(walked.at(second), anchor, start, course) for second in range(4000, 9000, 50)]
    assert moved[0] == Fix(start.longitude, start.latitude, anchor.altitude)
    for second, (one, other) in zip(range(4000, 9000, 50), pairwise(moved), strict=False):
        assert metres(one, other) == pytest.approx(metres(walked.at(second), walked.at(second + 50)), abs=0.3)


def test_people_have_places_of_their_own_in_one_city() -> None:
    with SimulatorServer() as simulator:
        for _ in range(40):
            simulator.add_person()
    places = [person.place for person in simulator.world.people.values()]
    distances = [metres(one, other) for number, one in enumerate(places) for other in places[:number]]
    assert min(distances) > 250
    assert max(distances) < 6000
