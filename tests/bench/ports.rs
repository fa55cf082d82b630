//! Loopback ports that nobody else takes between the choice and the use.
//!
//! The rule is that of `supervisor/ports.go`: a block of ports belongs to whoever
//! listens on its first one, below the range from which the kernel hands out
//! ports by itself. The kernel frees a block when its holder dies.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Mutex;

const RANGE: RangeInclusive<u16> = 20000..=29999;
const PORTS_EACH: u16 = 16;

struct Block {
    /// Held open for the life of this process.
    _lease: TcpListener,
    unused: RangeInclusive<u16>,
}

static BLOCKS: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 for a server that some other process opens. It stays with
/// this test binary, so a server that was stopped can come back on it.
pub(crate) fn free_port() -> u16 {
    let mut blocks = BLOCKS.lock().expect("no holder of the lock panics");
    loop {
        if let Some(port) = blocks.last_mut().and_then(|block| block.unused.find(|p| is_free(*p))) {
            return port;
        }
        blocks.push(lease());
    }
}

fn lease() -> Block {
    let (first, lease) = RANGE
        .step_by(usize::from(PORTS_EACH))
        .find_map(|first| Some((first, TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?)))
        .expect("a free block of ports between 20000 and 29999");
    Block { _lease: lease, unused: first + 1..=first + PORTS_EACH - 1 }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
