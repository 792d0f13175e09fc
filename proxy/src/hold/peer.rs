//! Whether the other end of a connection, if it is on this host, still belongs to a process. Asked of the kernel's
//! socket diagnostics. Source: sock_diag(7), and `struct inet_diag_req_v2` of `linux/inet_diag.h`.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use tokio::net::TcpStream;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
/// `nlmsghdr`.
const HEADER: usize = 16;
/// `nlmsghdr` and `inet_diag_req_v2`.
const REQUEST: u32 = 16 + 56;
/// Where `idiag_inode` stands behind the header of an answer: the last field of `inet_diag_msg`.
const INODE: usize = HEADER + 68;

/// Whom the peer's socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A process has it open.
    Process,
    /// It was closed; the kernel keeps it for the rest of the protocol.
    Nobody,
    /// There is no such socket in this network namespace: the peer is elsewhere, or long gone.
    NotHere,
}

/// Asks for the socket at the other end of `stream`. IPv4 only, as activator addresses are.
pub(super) fn owner(stream: &TcpStream) -> io::Result<Owner> {
    let (SocketAddr::V4(local), SocketAddr::V4(peer)) = (stream.local_addr()?, stream.peer_addr()?) else {
        return Ok(Owner::NotHere);
    };
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkSockDiag,
    )?;
    sendto(netlink.as_raw_fd(), &request(peer, local), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 512];
    // The kernel answers within the call that asks.
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    parse(&answer[..length])
}

/// Asks for the one socket that is bound to `from` and connected to `to`.
fn request(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 56);
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]); // sequence, port
    bytes.extend([AF_INET, IPPROTO_TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // all states
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    for ip in [from.ip(), to.ip()] {
        bytes.extend(ip.octets());
        bytes.extend([0; 12]);
    }
    bytes.extend([0; 4]); // any interface
    bytes.extend([u8::MAX; 8]); // no cookie
    bytes
}

fn parse(answer: &[u8]) -> io::Result<Owner> {
    let word = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let short = || io::Error::other("the kernel's answer about a socket is too short");
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match kind.ok_or_else(short)? {
        NLMSG_ERROR => {
            let code = i32::from_ne_bytes(word(HEADER).ok_or_else(short)?);
            match Errno::from_raw(-code) {
                Errno::ENOENT => Ok(Owner::NotHere),
                errno => Err(errno.into()),
            }
        }
        _ => match u32::from_ne_bytes(word(INODE).ok_or_else(short)?) {
            0 => Ok(Owner::Nobody),
            _ => Ok(Owner::Process),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_tells_a_half_closed_client_from_one_that_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(owner(&accepted).unwrap(), Owner::Process);
        client.shutdown().await.unwrap();
        assert_eq!(owner(&accepted).unwrap(), Owner::Process);
        drop(client);
        assert_eq!(owner(&accepted).unwrap(), Owner::Nobody);
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error_and_no_panic() {
        for length in 0..INODE {
            assert!(parse(&vec![0; length]).is_err(), "{length}");
        }
    }
}
