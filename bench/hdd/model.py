"""One head over one surface: what a read costs, given where the last one ended."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

# The mean of sqrt(|a - b|) for a and b anywhere on a line of length 1: the mean of all seeks of a drive.
MEAN_ROOT_OF_DISTANCE = 8 / 15


@dataclass(frozen=True)
class DiskModel:
    """A 7200 rpm drive; all bytes are platter positions.

    Mechanics: Western Digital Ultrastar DC HC310 (4 TB, 7200 rpm), OEM specification 4.5.1, typical read figures:
    average seek 7.4 ms, single track 0.23 ms, average latency 4.16 ms
    (https://manualshive.com/en/manual/western-digital/ultrastar-dc-hc310/961649?page=23, read 2026-11-24).
    Bandwidth: what the rig's disk gives to one sequential reader: 77 GB in 8 minutes.
    """

    bandwidth_bytes_s: float = 160e6
    average_seek_s: float = 7.4e-3
    track_seek_s: float = 0.23e-3
    half_rotation_s: float = 4.16e-3
    capacity_bytes: int = 4_000_000_000_000

    @property
    def look_ahead_s(self) -> float:
        """How long an idle drive goes on reading into its buffer after a read: one track, which is one rotation."""
        return 2 * self.half_rotation_s

    def transfer_s(self, size_bytes: int) -> float:
        return size_bytes / self.bandwidth_bytes_s

    def seek_s(self, distance_bytes: int) -> float:
        """The arm accelerates half the way and brakes the other half: settling, and a root of the distance."""
        share = min(abs(distance_bytes) / self.capacity_bytes, 1.0)
        return self.track_seek_s + (self.average_seek_s - self.track_seek_s) / MEAN_ROOT_OF_DISTANCE * sqrt(share)

    def access_s(self, head_bytes: int, offset_bytes: int) -> float:
        """Until the head reads at ``offset_bytes``; 0 where it is there already.

        A short gap ahead is not worth a seek: it passes under the head in the time of a transfer.
        """
        distance = offset_bytes - head_bytes
        if distance == 0:
            return 0.0
        seek = self.seek_s(distance) + self.half_rotation_s
        return min(seek, self.transfer_s(distance)) if distance > 0 else seek

    def random_reads_s(self, size_bytes: int, span_bytes: int) -> float:
        """Expected seconds of one read of ``size_bytes`` at random places of ``span_bytes``: the drive's 1 / IOPS."""
        mean = self.seek_s(span_bytes) - self.track_seek_s
        return self.track_seek_s + mean * MEAN_ROOT_OF_DISTANCE + self.half_rotation_s + self.transfer_s(size_bytes)
