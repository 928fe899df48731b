# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of ``analysis.export.perfetto`` as Perfetto's own protobuf, a fraction of the JSON.

Names are interned; each folio and each task is a track, and each counter a track of its folio.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, BinaryIO

from analysis.errors import CommandError
from analysis.export.perfetto_events import FOLIOS, Event

#: Packets that are written together.
TOGETHER = 1000
#: All packets are of one writer, whose numbered names they use.
WRITER = 1
#: What the file's names end in.
SUFFIXES = (".pftrace", ".perfetto-trace")


def classes() -> Any:
    """Perfetto's own classes; raises CommandError if they are not installed."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError:
        raise CommandError(
            "Perfetto's protobuf needs its package: pip install perfetto, or name the file .json"
        ) from None
    return perfetto_trace_pb2


def write_proto(file: BinaryIO, events: Iterator[Event]) -> None:
    """Write all events."""
    encoder = _Encoder(file)
    for event in events:
        encoder.take(event)
    encoder.flush()


class _Encoder:
    """Makes packets of events, and of tracks and names when they first come up."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._protos = file, classes()
        self._trace = self._protos.Trace()
        self._tracks: dict[Hashable, int] = {}
        self._names: dict[tuple[str, str], int] = {}
        first = self._packet()
        first.sequence_flags = self._protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED

    def flush(self) -> None:
        """Write the packets that are pending."""
        self._file.write(self._trace.SerializeToString())
        self._trace = self._protos.Trace()

    def take(self, event: Event) -> None:
        """Write an event; for a slice, its begin and its end."""
        if event["ph"] == "M":
            self._name(event)
        elif event["ph"] == "C":
            ((name, value),) = [(event["name"], event["args"]["value"])]
            body = self._event(event, "TYPE_COUNTER", self._counter(event["pid"], name))
            body.counter_value = value
        elif event["ph"] == "X":
            self._told(event, "TYPE_SLICE_BEGIN")
            end = event | {"ts": event["ts"] + event["dur"]}
            self._event(end, "TYPE_SLICE_END", self._track(event))
        else:
            body = self._told(event, "TYPE_INSTANT")
            if event["ph"] == "s":
                body.flow_ids.append(event["id"])
            elif event["ph"] == "f":
                body.terminating_flow_ids.append(event["id"])

    def _packet(self) -> Any:
        if len(self._trace.packet) >= TOGETHER:
            self.flush()
        packet = self._trace.packet.add()
        packet.trusted_packet_sequence_id = WRITER
        return packet

    def _event(self, event: Event, kind: str, track: int) -> Any:
        packet = self._packet()
        packet.timestamp = round(event["ts"] * 1000)
        packet.sequence_flags = self._protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        body = packet.track_event
        body.type = getattr(self._protos.TrackEvent, kind)
        body.track_uuid = track
        return body

    def _told(self, event: Event, kind: str) -> Any:
        """An event with its name and what is said of it."""
        args = event.get("args", {})
        names = [self._iid("event_names", event["name"])]
        names += [self._iid("debug_annotation_names", name) for name in args]
        body = self._event(event, kind, self._track(event))
        body.name_iid = names[0]
        for number, value in zip(names[1:], args.values(), strict=True):
            note = body.debug_annotations.add()
            note.name_iid = number
            if isinstance(value, int):
                note.int_value = value
            else:
                note.string_value = value
        return body

    def _iid(self, table: str, name: str) -> int:
        """The number of a name, which is written before its first use."""
        number = self._names.get((table, name))
        if number is None:
            number = self._names[table, name] = len(self._names) + 1
            packet = self._packet()
            packet.sequence_flags = self._protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
            entry = getattr(packet.interned_data, table).add()
            entry.iid, entry.name = number, name
        return number

    # -- tracks -------------------------------------------------------------------------------

    def _number(self, key: Hashable) -> tuple[int, bool]:
        """A track's number, and whether it is new."""
        new = key not in self._tracks
        return self._tracks.setdefault(key, len(self._tracks) + 1), new

    def _descriptor(self, number: int) -> Any:
        descriptor = self._packet().track_descriptor
        descriptor.uuid = number
        return descriptor

    def _track(self, event: Event) -> int:
        pid, tid = event["pid"], event["tid"]
        if event.get("s") == "g":
            number, new = self._number("marks")
            if new:
                self._descriptor(number).name = "marks"
        elif pid >= FOLIOS:
            number, _ = self._number(pid)
        else:
            number, new = self._number((pid, tid))
            if new:
                thread = self._descriptor(number).thread
                thread.pid, thread.tid = pid, tid
        return number

    def _counter(self, pid: int, name: str) -> int:
        number, new = self._number((pid, name))
        if new:
            descriptor = self._descriptor(number)
            descriptor.parent_uuid, descriptor.name = self._number(pid)[0], name
            descriptor.counter.SetInParent()
        return number

    def _name(self, event: Event) -> None:
        """The name of a folio, a process or a thread, whose track it makes where it is new."""
        pid, tid = event["pid"], event["tid"]
        if event["name"] == "process_sort_index":
            return
        name = event["args"]["name"]
        if pid >= FOLIOS:
            number, _ = self._number(pid)
            descriptor = self._descriptor(number)
            descriptor.name, descriptor.sibling_order_rank = name, pid - FOLIOS
        elif event["name"] == "thread_name":
            thread = self._descriptor(self._number((pid, tid))[0]).thread
            thread.pid, thread.tid, thread.thread_name = pid, tid, name
        else:
            process = self._descriptor(self._number(("process", pid))[0]).process
            process.pid, process.process_name = pid, name
