//! Items that every program of this target needs: panic handler and licence.

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never compiled in: the verifier rejects an endless loop.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
