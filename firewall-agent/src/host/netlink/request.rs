//! Netlink requests, framed by netlink-packet-core.

use std::convert::Infallible;
use std::io;

use anyhow::{Context as _, Result, bail, ensure};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_ERROR,
    NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

use super::link::{attributes, text};

/// Number of requests for a list that changes while the kernel dumps it.
const TRIES: usize = 5;
/// `struct nlmsghdr`, in bytes.
const NETLINK_HEADER_LEN: usize = 16;
/// Of `enum nlmsgerr_attrs`.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message of any netlink protocol: its type, and the bytes after the netlink header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Message {
    pub kind: u16,
    pub body: Vec<u8>,
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self { kind: header.message_type, body: payload.to_vec() })
    }
}

/// Requests a whole list; again if it changed during the dump.
///
/// # Errors
/// When the kernel refuses; the error of the system is in the chain.
pub(in crate::host) fn dump(protocol: isize, question: impl NetlinkSerializable) -> Result<Vec<Message>> {
    let socket = connect(protocol)?;
    let question = bytes(question, NLM_F_REQUEST | NLM_F_DUMP);
    for _ in 0..TRIES {
        socket.send(&question, 0)?;
        let mut answers = Vec::new();
        let mut add = |message| {
            answers.push(message);
            Ok(())
        };
        if receive(|| Ok(socket.recv_from_full()?.0), &mut add)? {
            return Ok(answers);
        }
    }
    bail!("the kernel's list changed during each of {TRIES} reads")
}

/// Requests a list that always changes, such as that of the sockets, and passes on each message as it arrives.
///
/// # Errors
/// When the kernel refuses, with the error of the system in the chain, or `each` fails.
pub(super) fn dump_each(
    protocol: isize,
    question: impl NetlinkSerializable,
    mut each: impl FnMut(Message) -> Result<()>,
) -> Result<()> {
    let socket = connect(protocol)?;
    socket.send(&bytes(question, NLM_F_REQUEST | NLM_F_DUMP), 0)?;
    receive(|| Ok(socket.recv_from_full()?.0), &mut each).map(drop)
}

/// A connection for many requests of changes.
#[derive(Debug)]
pub(super) struct Orders(Socket);

impl Orders {
    pub fn new(protocol: isize) -> Result<Self> {
        connect(protocol).map(Self)
    }

    /// Requests a change, and waits for the acknowledgement.
    ///
    /// # Errors
    /// When the kernel refuses: its error code.
    pub fn request(&self, order: impl NetlinkSerializable) -> io::Result<()> {
        self.0.send(&bytes(order, NLM_F_REQUEST | NLM_F_ACK), 0)?;
        acknowledged(&self.0.recv_from_full()?.0)
    }
}

fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let message = NetlinkMessage::<Message>::deserialize(answer).map_err(io::Error::other)?;
    match message.payload {
        NetlinkPayload::Error(error) if error.raw_code() == 0 => Ok(()),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        NetlinkPayload::Done(_)
        | NetlinkPayload::InnerMessage(_)
        | NetlinkPayload::Overrun(_)
        | NetlinkPayload::Noop
        | _ => Err(io::Error::other("no acknowledgement")),
    }
}

/// Requests one object; `None` when the kernel refuses with the error code `absent`.
///
/// # Errors
/// When the kernel refuses for another reason; the error of the system is in the chain.
pub(super) fn get(
    protocol: isize,
    question: impl NetlinkSerializable,
    absent: i32,
) -> Result<Option<Message>> {
    let socket = connect(protocol)?;
    socket.send(&bytes(question, NLM_F_REQUEST), 0)?;
    let (datagram, _) = socket.recv_from_full()?;
    match NetlinkMessage::<Message>::deserialize(&datagram)?.payload {
        NetlinkPayload::InnerMessage(answer) => Ok(Some(answer)),
        NetlinkPayload::Error(error) if error.raw_code() == -absent => Ok(None),
        NetlinkPayload::Error(error) => Err(error.to_io().into()),
        NetlinkPayload::Done(_) | NetlinkPayload::Overrun(_) | NetlinkPayload::Noop | _ => bail!("no answer"),
    }
}

/// Requests a change; returns the kernel's own words for a refusal, the extended acknowledgement; empty when the kernel
/// gives a code only. `None` when it was performed.
///
/// # Errors
/// When the request cannot be sent, or the answer is malformed.
pub(super) fn refusal(protocol: isize, order: impl NetlinkSerializable) -> Result<Option<String>> {
    let socket = connect(protocol)?;
    socket.set_ext_ack(true)?;
    socket.send(&bytes(order, NLM_F_REQUEST | NLM_F_ACK), 0)?;
    refused(&socket.recv_from_full()?.0)
}

/// Parses an acknowledgement: its code, the header of the request and, unless it is capped, the rest of the request, then
/// attributes.
fn refused(answer: &[u8]) -> Result<Option<String>> {
    let header = NetlinkBuffer::new_checked(answer)?;
    ensure!(header.message_type() == NLMSG_ERROR, "no acknowledgement");
    let (code, request) = header.payload().split_first_chunk().context("short answer")?;
    if i32::from_ne_bytes(*code) == 0 {
        return Ok(None);
    }
    if header.flags() & NLM_F_ACK_TLVS == 0 {
        return Ok(Some(String::new()));
    }
    let whole = u32::from_ne_bytes(*request.first_chunk().context("short answer")?);
    let length =
        if header.flags() & NLM_F_CAPPED == 0 { usize::try_from(whole)? } else { NETLINK_HEADER_LEN };
    let list = attributes(request.get(length.next_multiple_of(4)..).unwrap_or_default())?;
    let words = list.iter().find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG);
    Ok(Some(words.map(|words| text(words.value())).unwrap_or_default()))
}

fn connect(protocol: isize) -> Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Receives a whole list, from datagrams of any size; returns `false` when it changed during the dump.
fn receive(
    mut next: impl FnMut() -> io::Result<Vec<u8>>,
    each: &mut impl FnMut(Message) -> Result<()>,
) -> Result<bool> {
    let mut is_complete = true;
    loop {
        let datagram = next()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<Message>::deserialize(rest)?;
            is_complete &= message.header.flags & NLM_F_DUMP_INTR == 0;
            let length = usize::try_from(message.header.length)?.next_multiple_of(4);
            ensure!(length > 0, "a message of length 0");
            rest = rest.get(length..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => each(answer)?,
                NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code).into());
                }
                NetlinkPayload::Done(_) => return Ok(is_complete),
                NetlinkPayload::Overrun(_) => bail!("the kernel lost part of its answer"),
                NetlinkPayload::Noop | _ => {}
            }
        }
    }
}

fn bytes(question: impl NetlinkSerializable, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(question));
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NLM_F_MULTIPART, NLMSG_DONE, NLMSG_OVERRUN};

    use super::*;

    const KIND: u16 = libc::RTM_NEWLINK;

    /// One message: kind, flags and body.
    fn framed(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        bytes(Message { kind, body: body.to_vec() }, NLM_F_MULTIPART | flags)
    }

    fn done(code: i32) -> Vec<u8> {
        framed(NLMSG_DONE, 0, &code.to_ne_bytes())
    }

    fn received(datagrams: &[Vec<u8>]) -> Result<Option<Vec<Message>>> {
        let mut datagrams = datagrams.iter().cloned();
        let mut answers = Vec::new();
        let mut add = |message| {
            answers.push(message);
            Ok(())
        };
        let next = || datagrams.next().ok_or(io::ErrorKind::UnexpectedEof.into());
        Ok(receive(next, &mut add)?.then_some(answers))
    }

    #[test]
    fn multi_datagram_dump_is_complete() {
        // The largest attribute that a message can have.
        let large = vec![7; usize::from(u16::MAX)];
        let datagrams =
            [[framed(KIND, 0, &[1; 4]), framed(KIND, 0, &[2; 8])].concat(), framed(KIND, 0, &large), done(0)];
        let bodies = received(&datagrams).unwrap().unwrap().into_iter().map(|message| message.body);
        assert_eq!(bodies.collect::<Vec<_>>(), [vec![1; 4], vec![2; 8], large]);
    }

    #[test]
    fn interrupted_dump_is_not_complete() {
        let list = [framed(KIND, 0, &[1; 4]), framed(KIND, NLM_F_DUMP_INTR, &[2; 4]), done(0)];
        assert_eq!(received(&list).unwrap(), None);
        let end = [framed(KIND, 0, &[1; 4]), framed(NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4])];
        assert_eq!(received(&end).unwrap(), None);
    }

    #[test]
    fn refusal_has_the_kernels_words() {
        let request = framed(libc::RTM_SETLINK, 0, &[7; 20]);
        let words = [&[16, 0, 1, 0][..], b"Peer is up\0", &[0]].concat();
        let answer = |flags, code: i32, rest: &[&[u8]]| {
            framed(NLMSG_ERROR, flags, &[&code.to_ne_bytes()[..], &rest.concat()].concat())
        };
        let header = &request[..NETLINK_HEADER_LEN];
        for (answer, expected) in [
            (answer(NLM_F_CAPPED, 0, &[header]), None),
            (answer(0, -libc::EPERM, &[&request]), Some("")),
            (answer(NLM_F_ACK_TLVS, -libc::EPERM, &[&request, &words]), Some("Peer is up")),
            (answer(NLM_F_ACK_TLVS | NLM_F_CAPPED, -libc::EPERM, &[header, &words]), Some("Peer is up")),
            (answer(NLM_F_ACK_TLVS | NLM_F_CAPPED, -libc::EPERM, &[header]), Some("")),
        ] {
            assert_eq!(refused(&answer).unwrap().as_deref(), expected, "{answer:?}");
        }
        for malformed in [vec![0; 15], done(0), framed(NLMSG_ERROR, 0, &[0; 3])] {
            assert!(refused(&malformed).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn acknowledgement_has_the_error_code() {
        let answer = |code: i32| framed(NLMSG_ERROR, 0, &[&code.to_ne_bytes()[..], &[0; 16]].concat());
        acknowledged(&answer(0)).unwrap();
        let refused = acknowledged(&answer(-libc::EOPNOTSUPP)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP));
        for malformed in [vec![0; 15], done(0), framed(KIND, 0, &[1; 4])] {
            assert!(acknowledged(&malformed).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn refused_or_malformed_dump_is_an_error() {
        let code = |error: &anyhow::Error| error.downcast_ref::<io::Error>()?.raw_os_error();
        let refused = framed(NLMSG_ERROR, 0, &[&(-libc::EPERM).to_ne_bytes()[..], &[0; 16]].concat());
        assert_eq!(code(&received(&[refused]).unwrap_err()), Some(libc::EPERM));
        assert_eq!(code(&received(&[done(-libc::ENOMEM)]).unwrap_err()), Some(libc::ENOMEM));
        let length = |length: u32| [&length.to_ne_bytes()[..], &framed(KIND, 0, &[1; 4])[4..]].concat();
        for malformed in
            [framed(NLMSG_OVERRUN, 0, &[]), length(0), length(15), length(21), length(u32::MAX), vec![0; 15]]
        {
            assert!(received(&[malformed.clone(), done(0)]).is_err(), "{malformed:?}");
        }
        // The kernel ends every list.
        assert!(received(&[framed(KIND, 0, &[1; 4])]).is_err());
    }
}
