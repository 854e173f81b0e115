//! Waits until one of many sockets can be used: ppoll, the one call that the standard library lacks.

use std::ffi::{c_int, c_long, c_short, c_ulong, c_void};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

const POLLIN: c_short = 0x001;
const POLLOUT: c_short = 0x004;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Interest {
    descriptor: c_int,
    events: c_short,
    returned: c_short,
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn ppoll(
        interests: *mut Interest,
        count: c_ulong,
        timeout: *const Timespec,
        signals: *const c_void,
    ) -> c_int;
}

impl Interest {
    pub const fn new(descriptor: RawFd, wants_to_write: bool) -> Self {
        Self {
            descriptor,
            events: if wants_to_write {
                POLLIN | POLLOUT
            } else {
                POLLIN
            },
            returned: 0,
        }
    }

    pub const fn is_writable(self) -> bool {
        self.returned & POLLOUT != 0
    }

    /// Something to read, an end or a fault: reading tells which.
    pub const fn is_readable(self) -> bool {
        self.returned & !POLLOUT != 0
    }
}

/// Waits until one of `interests` is ready, at most `timeout`.
pub fn wait(interests: &mut [Interest], timeout: Duration) -> io::Result<()> {
    let timeout = Timespec {
        seconds: timeout.as_secs().cast_signed(),
        nanoseconds: c_long::from(timeout.subsec_nanos()),
    };
    // SAFETY: the pointer and the count are those of one exclusive slice, whose elements have the
    // layout of struct pollfd; the timeout outlives the call; a null set of signals is allowed.
    let ready = unsafe {
        ppoll(
            interests.as_mut_ptr(),
            interests.len() as c_ulong,
            &raw const timeout,
            std::ptr::null(),
        )
    };
    if ready >= 0 {
        return Ok(());
    }
    let fault = io::Error::last_os_error();
    if fault.kind() == io::ErrorKind::Interrupted {
        return Ok(());
    }
    Err(fault)
}
