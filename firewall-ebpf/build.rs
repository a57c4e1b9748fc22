//! Linker options of the BPF target.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Headers start at any address. Where the processor reads unaligned words, the verifier allows it, and the program
    // need not assemble them from bytes.
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "bpf") {
        println!("cargo:rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    }
}
