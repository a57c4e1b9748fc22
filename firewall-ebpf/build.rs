//! Linker options of the BPF target.

const OPTIONS: [&str; 3] = [
    // Headers start at any address. Where the processor reads unaligned words, the verifier allows it, and the program
    // need not assemble them from bytes.
    "--cpu-features=+allows-misaligned-mem-access",
    // Copies and zeroes values in place. The linker's default calls a loop over bytes for them, which cost most of the
    // time of a packet.
    "--disable-expand-memcpy-in-order",
    // The compiler joins neighbouring stores to one of 8 bytes, also on the stack, where the verifier wants it aligned.
    "--llvm-args=-combiner-store-merging=false",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "bpf") {
        for option in OPTIONS {
            println!("cargo:rustc-link-arg-bins={option}");
        }
    }
}
