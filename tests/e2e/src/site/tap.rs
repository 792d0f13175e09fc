//! An end of a link at which this process stands: what the kernel sends out there is read here, and what is written here comes in
//! there. The one place of the harness with a system call that has no safe form.
#![expect(
    unsafe_code,
    reason = "the interface behind /dev/net/tun is made by an ioctl, for which nix has nothing"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc;

/// Longer than any frame: the kernel cuts what is longer than a link's MTU before it comes here.
const LONGEST: usize = 2048;

/// A network interface; gone with this.
#[derive(Debug)]
pub(super) struct Tap(File);

impl Tap {
    /// A fresh one of this name, in the calling thread's network namespace.
    ///
    /// # Panics
    /// When it cannot be made.
    pub(super) fn new(name: &str) -> Self {
        let opened =
            File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
        let file = opened.expect("open /dev/net/tun: links are slowed by root on a kernel with TUN");
        let flags = libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).expect("the flags are few");
        let mut request = libc::ifreq {
            ifr_name: [0; libc::IFNAMSIZ],
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
        };
        assert!(name.len() < libc::IFNAMSIZ, "{name} is too long for an interface");
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        // SAFETY: the descriptor is open, and the kernel reads and writes one `ifreq`, which outlives the call.
        let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        Errno::result(made).unwrap_or_else(|error| panic!("make the interface {name}: {error}"));
        Self(file)
    }

    /// The next frame, if there is one.
    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; LONGEST];
        let length = (&self.0).read(&mut frame).ok()?;
        frame.truncate(length);
        Some(frame)
    }

    /// Sends a frame; one that does not go now is lost, as on any link.
    pub(super) fn send(&self, frame: &[u8]) {
        let _ = (&self.0).write(frame);
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
