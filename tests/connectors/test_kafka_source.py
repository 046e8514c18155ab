"""The Kafka source against a real Kafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from confluent_kafka.cimpl import NewPartitions

from connectors.errors import LostOffsetError, SourceError
from connectors.kafka_offsets import commit_ended, lost_messages
from connectors.kafka_source import KafkaSource
from connectors.stopping import stop_requested
from ops.services import Services
from tests.connectors.kafka import TestTopic, offsets, poll, taken
from tests.connectors.readings import METER, START_MICROS, readings


@pytest.fixture
def topic(services: Services) -> TestTopic:
    return TestTopic(services.kafka_bootstrap)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Parts that a test has left are closed."""
    yield
    stop_requested.clear()
    commit_ended(success=False)


def test_messages_come_with_offsets_and_frontier(topic: TestTopic) -> None:
    frame = readings(10, 50)
    topic.put(frame)
    assert topic.source().list_parts() == ["grid.meter.v1/0"]
    batches = poll(topic.part(batch_messages=200), taken(500))
    assert pl.concat(batch.frame for batch in batches).drop("_offset").equals(frame)
    assert offsets(batches) == list(range(500))
    assert max(batch.taken for batch in batches) <= 200
    assert [(batch.first_offset, batch.last_offset) for batch in batches][-1][1] == 499
    assert {(batch.topic, batch.partition, batch.partitions) for batch in batches} == {("grid.meter.v1", 0, 1)}
    assert batches[-1].frontier == START_MICROS + 49 * 900_000_000
    assert [batch.caught_up for batch in batches] == [False] * (len(batches) - 1) + [True]


def test_bad_messages_are_dead_letters_as_they_came(topic: TestTopic) -> None:
    topic.put(readings(1, 1))
    topic.put_raw([(b"k", b"junk"), (None, b"\x00\x00\x00\x00\x07ab"), (b"k", None)])
    topic.put(readings(2, 1, first=1))
    batches = poll(topic.part(keep_raw=True), taken(6))
    dead = pl.concat(batch.dead for batch in batches)
    assert dead.select("offset", "key", "value", "stage").rows() == [
        (1, b"k", b"junk", "framing"),
        (2, None, b"\x00\x00\x00\x00\x07ab", "decode"),
        (3, b"k", None, "decode"),
    ]
    frame = pl.concat(batch.frame for batch in batches)
    assert frame["_offset"].to_list() == [0, 4, 5]
    assert frame["_key"].to_list() == [b"m0", b"m0", b"m1"]
    assert frame["_value"].bin.starts_with(b"\x00").all()
    assert sum(batch.taken for batch in batches) == len(frame) + len(dead)


def test_a_stored_position_goes_on_where_it_was_taken(topic: TestTopic) -> None:
    topic.put(readings(10, 30))
    part = topic.part(batch_messages=100)
    begun = poll(part, taken(100))
    state = part.snapshot()
    assert state == {"next_offset": 100, "gate": begun[-1].frontier, "been_idle": False}
    # What comes after the snapshot is read again, whatever start says.
    poll(part, taken(100))
    part.close()
    again = poll(topic.part(state, start="latest"), taken(200))
    assert offsets(again) == list(range(100, 300))


def test_the_group_follows_the_snapshots(topic: TestTopic) -> None:
    topic.put(readings(10, 30))
    part = topic.part(batch_messages=100)
    poll(part, taken(100))
    part.snapshot()
    time.sleep(0.5)
    assert topic.committed() < 0  # the sinks may not have written it yet
    poll(part, taken(100))  # now they have
    wait_for_commit(topic, 100)
    part.snapshot()
    part.close()
    assert topic.committed() == 100  # Bytewax closes sources before the sinks
    commit_ended()
    assert topic.committed() == 200
    assert offsets(poll(topic.part(start="committed"), taken(100)))[0] == 200


def test_a_failed_run_commits_nothing_at_its_end(topic: TestTopic) -> None:
    topic.put(readings(10, 10))
    part = topic.part()
    poll(part, taken(100))
    part.snapshot()
    part.close()
    commit_ended(success=False)
    assert topic.committed() < 0


def wait_for_commit(topic: TestTopic, offset: int) -> None:
    deadline = time.monotonic() + 10
    while topic.committed() != offset:
        assert time.monotonic() < deadline, topic.committed()
        time.sleep(0.1)


def test_where_to_start(topic: TestTopic) -> None:
    topic.put(readings(1, 5))
    time.sleep(0.05)
    between = datetime.now(UTC).isoformat()
    time.sleep(0.05)
    topic.put(readings(1, 5, first=5))

    def first(start: str) -> int:
        part = topic.part(start=start)
        topic.put(readings(1, 1, first=20))
        found = offsets(poll(part, taken(1)))[0]
        part.close()
        return found

    assert first("earliest") == 0
    assert first("committed") == 0  # there is none
    assert first(between) == 5
    assert first("2000-01-01T00:00:00+00:00") == 0
    assert first("latest") == 14
    assert first("2100-01-01T00:00:00+00:00") == 15


def test_a_new_partition_is_read_from_its_first_message(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    topic = TestTopic(services.kafka_bootstrap, partitions=2)
    for number in (0, 1):
        topic.put(readings(1, 3), number)
        part = topic.part(partition=number, start="latest")
        poll(part, lambda batches: any(batch.caught_up for batch in batches))
        part.snapshot()
        part.close()
    commit_ended()
    topic.admin.create_partitions([NewPartitions(topic.name, 3)])[topic.name].result()
    deadline = time.monotonic() + 10
    while topic.source().list_parts() != [f"grid.meter.v1/{number}" for number in range(3)]:
        assert time.monotonic() < deadline
    topic.put(readings(1, 4), 2)
    with caplog.at_level(logging.WARNING):
        batches = poll(topic.part(partition=2, start="latest"), taken(4))
    assert offsets(batches) == [0, 1, 2, 3]
    assert "partition 2 is new" in caplog.text
    assert (batches[0].partition, batches[0].partitions) == (2, 3)
    known = topic.part(partition=1, start="latest")
    topic.put(readings(1, 1), 1)
    assert offsets(poll(known, taken(1))) == [3]


def test_lost_messages_are_an_error(topic: TestTopic) -> None:
    topic.put(readings(1, 20))
    topic.delete_before(15)
    with pytest.raises(LostOffsetError) as caught:
        topic.part({"next_offset": 4, "gate": None})
    for part in (topic.name, "partition 0", "stored offset 4", "earliest is 15", "11 messages"):
        assert part in str(caught.value)
    with pytest.raises(LostOffsetError, match="ends at 20"):
        topic.part({"next_offset": 21, "gate": None})
    # One past the last message is where a drained partition stands.
    topic.part({"next_offset": 20, "gate": None}).close()


def test_lost_messages_are_jumped_over_and_counted(topic: TestTopic, caplog: pytest.LogCaptureFixture) -> None:
    topic.put(readings(1, 20))
    topic.delete_before(15)
    with caplog.at_level(logging.WARNING):
        batches = poll(topic.part({"next_offset": 4, "gate": None}, on_lost_offset="jump"), taken(5))
    assert offsets(batches) == [15, 16, 17, 18, 19]
    assert "11 messages were deleted before they were read; going on from 15" in caplog.text
    assert lost_messages.labels(topic.name, "0")._value.get() == 11


@pytest.mark.parametrize("on_lost", ["error", "jump"])
def test_messages_lost_while_running(topic: TestTopic, on_lost: str) -> None:
    # A queue of few messages, so that the rest is still at the broker when it is deleted.
    topic.config |= {"queued.min.messages": 1, "queued.max.messages.kbytes": 1, "fetch.max.bytes": 2000,
                     "message.max.bytes": 1500, "max.partition.fetch.bytes": 1000}  # fmt: skip
    for step in range(40):
        topic.put(readings(20, 1, first=step))
    part = topic.part(on_lost_offset=on_lost, batch_messages=10)
    begun = poll(part, taken(10))
    topic.delete_before(795)
    if on_lost == "error":
        with pytest.raises(LostOffsetError, match="earliest is 795"):
            poll(part, taken(800))
        return
    rest = poll(part, lambda batches: any(batch.last_offset == 799 for batch in batches))
    found = offsets(begun + rest)
    assert found == sorted(set(found))
    assert found[-5:] == [795, 796, 797, 798, 799]
    assert lost_messages.labels(topic.name, "0")._value.get() == 800 - len(found) > 0


def test_caught_up_once_then_idle_again_and_again(topic: TestTopic) -> None:
    part = topic.part()
    batches = poll(part, lambda found: any(batch.idle for batch in found))
    assert [(batch.taken, batch.caught_up, batch.idle) for batch in batches] == [
        (0, True, False),
        (0, True, True),
    ]
    until = time.monotonic() + 2.5
    again = poll(part, lambda _found: time.monotonic() > until)
    assert {(batch.taken, batch.caught_up, batch.idle) for batch in again} == {(0, True, True)}
    assert 1 <= len(again) <= 3
    topic.put(readings(1, 1))
    batches = poll(part, lambda found: any(batch.idle for batch in found))
    assert [(batch.taken, batch.caught_up, batch.idle) for batch in batches] == [
        (1, True, False),
        (0, True, True),
    ]
    assert batches[-1].frontier == START_MICROS
    # What comes after a pause may be too late for the others: it is kept as it came, also after a restart.
    (message,) = topic.messages(1)
    assert batches[0].frame["_value"].to_list() == [message.value()]
    state = part.snapshot()
    part.close()
    topic.put(readings(1, 1))
    (batch,) = (one for one in poll(topic.part(state), taken(1)) if one.taken)
    assert "_value" in batch.frame.columns


def test_offsets_with_gaps_of_transactions(topic: TestTopic) -> None:
    for number in range(3):
        topic.put_raw([(b"k", b"junk")] * 2, transaction=f"{topic.name}-{number}")
    part = topic.part()
    batches = poll(part, lambda found: any(batch.idle for batch in found))
    # The markers stand between the messages, though not always after each transaction's own.
    expected = [message.offset() for message in topic.messages(6)]
    assert expected != list(range(6))
    assert pl.concat(batch.dead for batch in batches)["offset"].to_list() == expected
    # The marker of the last transaction is behind it too.
    assert part.snapshot()["next_offset"] == 9


def test_a_silent_broker_makes_no_partition_idle(services: Services) -> None:
    topic = TestTopic(services.kafka_bootstrap)
    topic.put(readings(1, 3))
    part = topic.part()
    poll(part, taken(3))
    services.stop("kafka", kill=True)
    try:
        until = time.monotonic() + 4
        assert poll(part, lambda _found: time.monotonic() > until) == []
    finally:
        services.start("kafka")
    topic.put(readings(1, 3, first=3))
    batches = poll(part, lambda found: any(batch.idle for batch in found), seconds=60)
    assert offsets(batches) == [3, 4, 5]


def test_a_stop_ends_the_part(topic: TestTopic) -> None:
    part = topic.part()
    poll(part, bool)
    stop_requested.set()
    with pytest.raises(StopIteration):
        part.next_batch()


def test_an_unknown_topic_is_named(topic: TestTopic) -> None:
    with pytest.raises(SourceError, match=rf"no-such-topic at {topic.config['bootstrap.servers']}: .*Unknown topic"):
        topic.source(topic="no-such-topic").list_parts()


def test_a_refused_password_is_named_but_not_shown(topic: TestTopic) -> None:
    topic.config |= {
        "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
        "sasl.username": "meter-user", "sasl.password": "sesame-open",
    }  # fmt: skip
    with pytest.raises(SourceError) as caught:
        topic.source(timeout=2.0).list_parts()
    assert "SASL" in str(caught.value)
    assert topic.config["bootstrap.servers"] in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_an_absent_broker_is_named() -> None:
    arguments: dict[str, Any] = {"decoder": None, "gate": None, "group_id": "g", "timeout": 1.0}
    source = KafkaSource({"bootstrap.servers": "127.0.0.1:1"}, METER, **arguments)
    with pytest.raises(SourceError, match=r"grid\.meter\.v1 at 127\.0\.0\.1:1: .*refused"):
        source.list_parts()
