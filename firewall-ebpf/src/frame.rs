//! Reading the frame: the one place with packet pointers.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use firewall_common::packet::{Flow, MAX_FIXED, PacketBytes, Shape, parse};

/// The frame of one run of the program.
pub struct Frame {
    ctx: *mut xdp_md,
    start: usize,
    end: usize,
    length: usize,
}

impl Frame {
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        // SAFETY: the context pointer is the one that the kernel handed to the program.
        let length = unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) } as usize;
        Self { ctx: ctx.as_ptr().cast(), start: ctx.data(), end: ctx.data_end(), length }
    }

    /// Length in bytes, fragments of the buffer included.
    #[inline(always)]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Chooses once how the fixed headers are read: in place, or, when they are not in the linear part of the
    /// buffer, through the kernel's copy. A choice at each read is more than the verifier follows.
    #[inline(always)]
    pub fn parse(&self, flow: &mut Flow) -> Shape {
        if self.start + MAX_FIXED > self.end && self.length > self.end - self.start {
            parse(&Copied(self), flow)
        } else {
            parse(&Linear(self), flow)
        }
    }

    #[inline(always)]
    fn direct<T: Copy>(&self, offset: usize) -> Option<T> {
        if offset > MAX_FIXED {
            return None;
        }
        let at = self.start + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the bytes from `at` on lie before `data_end`; T is plain bytes or words, read unaligned.
        Some(unsafe { (at as *const T).read_unaligned() })
    }

    /// A value at any offset, through the kernel's copy; `None` when the frame is shorter.
    #[inline(always)]
    pub fn copy<T: Copy>(&self, offset: usize) -> Option<T> {
        let mut bytes = MaybeUninit::<T>::uninit();
        // SAFETY: the kernel writes exactly `size_of::<T>()` bytes, or returns an error; it checks the offset itself.
        let done = unsafe {
            bpf_xdp_load_bytes(self.ctx, offset as u32, bytes.as_mut_ptr().cast(), size_of::<T>() as u32)
        };
        // SAFETY: on 0 all bytes were written, and T has no invalid bit pattern.
        if done == 0 { Some(unsafe { bytes.assume_init() }) } else { None }
    }
}

struct Linear<'a>(&'a Frame);

impl PacketBytes for Linear<'_> {
    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.0.length
    }

    #[inline(always)]
    fn near<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.direct(offset)
    }

    #[inline(always)]
    fn far<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.copy(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.0.direct(offset)
    }
}

struct Copied<'a>(&'a Frame);

impl PacketBytes for Copied<'_> {
    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.0.length
    }

    #[inline(always)]
    fn near<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.copy(offset)
    }

    #[inline(always)]
    fn far<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.copy(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.0.copy(offset)
    }
}
