//! Attributes of nftables messages, by number; they nest, and integers are in network byte order.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use netlink_packet_core::{NLA_HEADER_SIZE, NlaBuffer, NlasIterator, parse_ip};

/// Attributes, by number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(&'a [u8]);

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
        Ok(self.texts(number)?.into_iter().next())
    }

    /// As `text`, of every attribute with this number.
    pub fn texts(self, number: u16) -> Result<Vec<String>> {
        let text = |bytes: &[u8]| {
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        Ok(self.all(number)?.into_iter().map(text).collect())
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

/// Parses an address in network byte order; `None` when the length is not 4 or 16 bytes.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    parse_ip(bytes).ok()
}
