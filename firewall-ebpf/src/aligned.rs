//! Values on the stack at the alignment that the compiler's copies of eight bytes need: the verifier accepts an unaligned
//! access to a packet or a map, but none to the stack.

use core::ops::{Deref, DerefMut};

/// A value at a multiple of 8 bytes.
#[derive(Clone, Copy, Default)]
#[repr(C, align(8))]
pub struct Aligned<T>(pub T);

impl<T> Deref for Aligned<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
