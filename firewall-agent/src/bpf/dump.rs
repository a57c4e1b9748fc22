//! Lists that the kernel gives over netlink, as far as one message goes.

use std::convert::Infallible;

use anyhow::{Context as _, Result, bail, ensure};
use netlink_packet_core::{
    NLA_HEADER_SIZE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlaBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};

/// The list changed while it was given.
const NLM_F_DUMP_INTR: u16 = 0x10;
const TRIES: usize = 5;

/// One message: its type, and what follows the netlink header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
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

/// Asks for a whole list.
///
/// # Errors
/// When the kernel refuses; the error of the system is in the chain.
pub(super) fn dump(protocol: isize, question: &Message) -> Result<Vec<Message>> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    for _ in 0..TRIES {
        socket.send(&bytes(question), 0)?;
        if let Some(answers) = receive(&socket)? {
            return Ok(answers);
        }
    }
    bail!("changes faster than it can be read")
}

/// `None` when the list changed meanwhile.
fn receive(socket: &Socket) -> Result<Option<Vec<Message>>> {
    let (mut answers, mut whole) = (Vec::new(), true);
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<Message>::deserialize(rest)?;
            whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
            let length = usize::try_from(message.header.length)?.next_multiple_of(4);
            ensure!(length > 0, "a message without length");
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

fn bytes(question: &Message) -> Vec<u8> {
    let mut message =
        NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(question.clone()));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Attributes, by number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Those of this number, in order.
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

    /// A number of the machine's byte order.
    pub fn number(self, number: u16) -> Result<Option<u32>> {
        Ok(self.get(number)?.and_then(|bytes| Some(u32::from_ne_bytes(*bytes.first_chunk()?))))
    }

    /// A number of network byte order.
    pub fn wire_number(self, number: u16) -> Result<Option<u32>> {
        Ok(self.get(number)?.and_then(|bytes| Some(u32::from_be_bytes(*bytes.first_chunk()?))))
    }

    /// Attributes inside an attribute; none when it is not there.
    pub fn inside(self, number: u16) -> Result<Self> {
        Ok(Self(self.get(number)?.unwrap_or_default()))
    }
}
