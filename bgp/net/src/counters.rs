/// What the driver has done since it started, for metrics. Plain numbers that only grow, but for `connections`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that exist now, in whatever phase.
    pub connections: u64,
    /// Connections taken from listening sockets.
    pub accepted: u64,
    /// Connections begun.
    pub connects: u64,
    /// Of those, failed ones.
    pub connect_failures: u64,
    /// Bytes read from peers.
    pub bytes_read: u64,
    /// Bytes that sockets took.
    pub bytes_written: u64,
    /// Calls of `read` that brought something.
    pub reads: u64,
    /// Calls that wrote something; many segments may go in one.
    pub writes: u64,
    /// Slices of route work, each of at most [`crate::SLICE`] prefixes.
    pub slices: u64,
    /// Loc-RIB changes handed on.
    pub changes: u64,
    /// Notices dropped because nobody took them in time.
    pub notices_lost: u64,
}
