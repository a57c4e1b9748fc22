//! How the linker makes the program's code.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Headers lie at any address. Where the processor reads words from there, so does the verifier, and the program
    // need not put them together from bytes.
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "bpf") {
        println!("cargo:rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    }
}
