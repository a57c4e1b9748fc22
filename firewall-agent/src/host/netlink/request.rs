//! Netlink requests, and the attributes of the replies.

use std::convert::Infallible;

use anyhow::{Context as _, Result, bail, ensure};
use netlink_packet_core::{
    NLA_HEADER_SIZE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlaBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};

/// The list changed during the dump.
const NLM_F_DUMP_INTR: u16 = 0x10;
const TRIES: usize = 5;

/// One message: its type, and the bytes after the netlink header.
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

/// Requests a whole list.
///
/// # Errors
/// When the kernel refuses; the error of the system is in the chain.
pub(in crate::host) fn dump(protocol: isize, question: &Message) -> Result<Vec<Message>> {
    let socket = connect(protocol)?;
    for _ in 0..TRIES {
        socket.send(&bytes(question, NLM_F_REQUEST | NLM_F_DUMP), 0)?;
        if let Some(answers) = receive(&socket)? {
            return Ok(answers);
        }
    }
    bail!("changes faster than it can be read")
}

/// Requests one object; `None` when the kernel refuses with the error code `absent`.
///
/// # Errors
/// When the kernel refuses for another reason; the error of the system is in the chain.
pub(in crate::host) fn ask(protocol: isize, question: &Message, absent: i32) -> Result<Option<Message>> {
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

fn connect(protocol: isize) -> Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Receives a whole list; `None` when it changed during the dump.
fn receive(socket: &Socket) -> Result<Option<Vec<Message>>> {
    let (mut answers, mut whole) = (Vec::new(), true);
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<Message>::deserialize(rest)?;
            whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
            let length = usize::try_from(message.header.length)?.next_multiple_of(4);
            ensure!(length > 0, "a message of length 0");
            rest = rest.get(length..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(std::io::Error::from_raw_os_error(-done.code).into());
                }
                NetlinkPayload::Done(_) => return Ok(whole.then_some(answers)),
                NetlinkPayload::Overrun(_) => bail!("the kernel lost part of its answer"),
                NetlinkPayload::Noop | _ => {}
            }
        }
    }
}

fn bytes(question: &Message, flags: u16) -> Vec<u8> {
    let mut message =
        NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(question.clone()));
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// An encoded attribute: length and number of two bytes each, value, padding to four bytes.
pub(in crate::host) fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(NLA_HEADER_SIZE + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), number.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Attributes, by number.
#[derive(Debug, Clone, Copy)]
pub(in crate::host) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Values of all attributes with this number, in order.
    ///
    /// # Errors
    /// When the bytes are no list of attributes.
    pub fn all(self, number: u16) -> Result<Vec<&'a [u8]>> {
        let mut found = Vec::new();
        for attribute in NlasIterator::new(self.0) {
            let attribute: NlaBuffer<&'a [u8]> = attribute.context("not a list of attributes")?;
            if attribute.kind() == number {
                let length = usize::from(attribute.length());
                let bytes = attribute.into_inner().get(NLA_HEADER_SIZE..length);
                found.push(bytes.context("not a list of attributes")?);
            }
        }
        Ok(found)
    }

    pub fn get(self, number: u16) -> Result<Option<&'a [u8]>> {
        Ok(self.all(number)?.first().copied())
    }

    /// Text up to its NUL.
    pub fn text(self, number: u16) -> Result<Option<String>> {
        let bytes = self.get(number)?;
        let text = bytes.map(|bytes| bytes.split(|byte| *byte == 0).next().unwrap_or_default());
        Ok(text.map(|text| String::from_utf8_lossy(text).into_owned()))
    }

    /// A number in host byte order.
    pub fn number(self, number: u16) -> Result<Option<u32>> {
        Ok(self.get(number)?.and_then(|bytes| Some(u32::from_ne_bytes(*bytes.first_chunk()?))))
    }

    /// A number in network byte order.
    pub fn wire_number(self, number: u16) -> Result<Option<u32>> {
        Ok(self.get(number)?.and_then(|bytes| Some(u32::from_be_bytes(*bytes.first_chunk()?))))
    }

    /// Attributes nested in an attribute; none when it is missing.
    pub fn inside(self, number: u16) -> Result<Self> {
        Ok(Self(self.get(number)?.unwrap_or_default()))
    }
}
