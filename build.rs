//! One option for the linker, which cargo-pgrx would otherwise give as a flag of the whole build:
//! with another flag every dependency would be compiled once more for the tests' own extension.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The linker would drop the entities that pgrx keeps in a section of their own.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,--no-gc-sections");
    }
}
