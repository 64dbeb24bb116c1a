//! Compiles the Store contract into Rust, without a `protoc` on the machine.

const PROTO_ROOT: &str = "proto";
const PROTO_FILES: [&str; 3] = [
    "edgeway/store/v1/common.proto",
    "edgeway/store/v1/message_store.proto",
    "edgeway/store/admin/v1/dialog_admin.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={PROTO_ROOT}");
    let descriptors = protox::compile(PROTO_FILES, [PROTO_ROOT])?;
    tonic_prost_build::configure().emit_rerun_if_changed(false).compile_fds(descriptors)?;
    Ok(())
}
