//! One connection, kept alive, never waited for: what can be written or read now is, the rest later.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::answer::{self, Answer};

#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    read: Vec<u8>,
    /// When the request under way was due.
    due: Option<Duration>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            address,
            stream: connect(address)?,
            out: Vec::new(),
            written: 0,
            read: Vec::new(),
            due: None,
        })
    }

    pub fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub const fn is_busy(&self) -> bool {
        self.due.is_some()
    }

    /// Whether bytes of the request wait until the socket takes more.
    pub fn has_more_to_write(&self) -> bool {
        self.written < self.out.len()
    }

    /// Sends a request that was due at `due`; `fill` writes its bytes.
    pub fn send(&mut self, due: Duration, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        fill(&mut self.out);
        self.written = 0;
        self.due = Some(due);
        self.write()
    }

    /// Writes what the socket takes.
    pub fn write(&mut self) -> io::Result<()> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.written += count,
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Reads what is there; returns the answer once it is whole, and when its request was due.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(Answer, Duration)>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(fault) if fault.kind() == ErrorKind::Interrupted => continue,
                Err(fault) => return Err(fault),
            }
            let parsed = answer::parse(&self.read);
            if let Some(answer) = parsed.map_err(|_| io::Error::from(ErrorKind::InvalidData))? {
                self.read.drain(..answer.bytes);
                return Ok(self.due.take().map(|due| (answer, due)));
            }
        }
    }

    /// Begins anew after a fault; the request under way is given up, and when it was due returned.
    pub fn reopen(&mut self) -> io::Result<Option<Duration>> {
        self.stream = connect(self.address)?;
        self.out.clear();
        self.read.clear();
        self.written = 0;
        Ok(self.due.take())
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
