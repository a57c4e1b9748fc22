//! Network drivers, by ethtool.

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;

/// `ETHTOOL_GDRVINFO` of <linux/ethtool.h>: queries driver and firmware. Needs no privilege.
const GET_DRIVER_INFO: u32 = 3;

nix::ioctl_readwrite_bad!(
    /// Performs a request of ethtool on the interface that it names.
    ethtool,
    libc::SIOCETHTOOL,
    libc::ifreq
);

/// `struct ethtool_drvinfo` of <linux/ethtool.h>, since Linux 2.4; the kernel fills only what its caller has room for.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// Returns the name of an interface's driver, such as `virtio_net`; `None` for an interface without one.
///
/// # Errors
/// When there is no such interface, or a system call filter refuses the query.
pub fn driver(interface: &str) -> io::Result<Option<String>> {
    let mut info = DriverInfo { command: GET_DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: every field of the structure is a number, an array of numbers, or a union of such, for which zeros are
    // values.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays 0.
    let room = request.ifr_name.len() - 1;
    if interface.len() > room {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // Every socket passes the request on to the network devices of its namespace; this kind needs no address family of
    // the network.
    let socket = UnixDatagram::unbound()?;
    // SAFETY: the request and the structure that it points to have the kernel's layout and live beyond the call.
    match unsafe { ethtool(socket.as_raw_fd(), &raw mut request) } {
        Ok(_) => {}
        Err(Errno::EOPNOTSUPP) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let name = CStr::from_bytes_until_nul(&info.driver).map_err(io::Error::other)?;
    Ok(Some(name.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_interface_is_an_error() {
        for name in ["none", "a-name-longer-than-an-interface-can-have"] {
            assert_eq!(driver(name).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{name}");
        }
    }
}
