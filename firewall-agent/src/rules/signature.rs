//! Verification of minisign signatures (Ed25519) over the exact bytes of a file.

use std::fmt;
use std::str::FromStr;

use minisign_verify::{Error, PublicKey, Signature};

use super::{Cause, Rejection};

/// Public key of a trusted signer.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey {
    text: String,
    key: PublicKey,
}

/// Parses the last line of a minisign public key file.
impl FromStr for TrustedKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match PublicKey::from_base64(text) {
            Ok(key) => Ok(Self { text: text.to_owned(), key }),
            Err(_) => Err("must be a minisign public key, the last line of its .pub file".to_owned()),
        }
    }
}

impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedKey({})", self.text)
    }
}

/// Checks that one of `keys` signed exactly these bytes. Without keys, no file needs a signature.
///
/// # Errors
/// [`Cause::Unsigned`] or [`Cause::BadSignature`].
pub fn check_signature(keys: &[TrustedKey], bytes: &[u8], signature: Option<&[u8]>) -> Result<(), Rejection> {
    if keys.is_empty() {
        return Ok(());
    }
    let Some(signature) = signature else {
        return Err(Rejection::named(
            Cause::Unsigned,
            "needs a signature by a trusted key, in a file beside it of the same name plus .minisig",
        ));
    };
    let text = str::from_utf8(signature).ok();
    let Some(signature) = text.and_then(|text| Signature::decode(text).ok()) else {
        return Err(Rejection::named(Cause::BadSignature, "the .minisig file is not a minisign signature"));
    };
    let mut why = "the signature was made with a key that is not trusted";
    for key in keys {
        match key.key.verify(bytes, &signature, true) {
            Ok(()) => return Ok(()),
            Err(Error::UnexpectedKeyId) => {}
            Err(_) => why = "the signature does not match these bytes",
        }
    }
    Err(Rejection::named(Cause::BadSignature, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by minisign 0.11 for this test.
    const KEY: &str = "RWQBqKAi8U8ZaxTexoaD/19mLQtg4AOqAF0qZpGAtkYXrLqiZuOube1U";
    const OTHER_KEY: &str = "RWSO9KXWeDVZSRVBv2SO+VcMIm6gkg7JxZTyUtrr04W6k5qiszBu6uC1";
    const BYTES: &[u8] = b"schema_version: 1\n...\n";
    const SIGNATURE: &str = "\
untrusted comment: signature from minisign secret key\n\
RUQBqKAi8U8Za0EBALxik3/pp1UYzZUnjQXlXPfHYQ0scMaFSLFHMY+61Rsv/BXT7sDhYxS/kqczMp1Mai6fa/akEL101SR6Rw0=\n\
trusted comment: firewall-agent\n\
dhv/1mlWz8E6V9PAqpWtWVM4SUuhLJ2oOsRFYBWhKzkVIrDseXYPOkdjGlcxt1E2CObTwnrYoumBhbzecrgXDA==\n";

    fn keys(texts: &[&str]) -> Vec<TrustedKey> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_bytes_signed_by_a_trusted_key_are_accepted() {
        let signature = Some(SIGNATURE.as_bytes());
        for trusted in [&[KEY][..], &[OTHER_KEY, KEY], &[KEY, OTHER_KEY]] {
            assert_eq!(check_signature(&keys(trusted), BYTES, signature), Ok(()), "{trusted:?}");
        }
        let refused = |trusted: &[&str], bytes: &[u8], signature: Option<&[u8]>| {
            let why = check_signature(&keys(trusted), bytes, signature).unwrap_err();
            assert!(why.message.starts_with(&format!("{}: ", why.cause)), "{why}");
            why.cause.name()
        };
        assert_eq!(refused(&[KEY], BYTES, None), "unsigned");
        assert_eq!(refused(&[OTHER_KEY], BYTES, signature), "bad_signature");
        assert_eq!(refused(&[KEY], &BYTES[1..], signature), "bad_signature");
        for (at, bit) in (0..BYTES.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut flipped = BYTES.to_vec();
            flipped[at] ^= 1 << bit;
            assert_eq!(refused(&[KEY], &flipped, signature), "bad_signature", "byte {at} bit {bit}");
        }
    }

    #[test]
    fn modified_signature_is_refused() {
        let keys = keys(&[KEY]);
        // The first line is an unsigned comment.
        let signed = SIGNATURE.find('\n').unwrap() + 1;
        for at in signed..SIGNATURE.len() {
            let mut touched = SIGNATURE.as_bytes().to_vec();
            touched[at] ^= 1;
            let same = str::from_utf8(&touched).is_ok_and(|text| text.trim() == SIGNATURE.trim());
            assert!(same || check_signature(&keys, BYTES, Some(&touched)).is_err(), "byte {at}");
        }
        for cut in 0..SIGNATURE.trim_end().len() {
            let signature = Some(&SIGNATURE.as_bytes()[..cut]);
            assert!(check_signature(&keys, BYTES, signature).is_err(), "{cut} bytes");
        }
        assert!(check_signature(&keys, BYTES, Some(&[0xff; 300])).is_err());
    }

    #[test]
    fn no_signature_is_required_without_a_key() {
        assert_eq!(check_signature(&[], BYTES, None), Ok(()));
        assert_eq!(check_signature(&[], BYTES, Some(b"anything")), Ok(()));
    }

    #[test]
    fn invalid_keys_are_refused() {
        for text in ["", "RWQ", "untrusted comment: minisign public key", &KEY[1..], &KEY.to_lowercase()] {
            assert!(text.parse::<TrustedKey>().is_err(), "{text:?} was accepted");
        }
        assert_eq!(keys(&[KEY])[0].to_string(), KEY);
    }
}
