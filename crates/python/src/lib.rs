//! The border to Python: `innkeeper._core`. It converts, detaches and maps errors, and holds no
//! logic of its own. The typed face with the docstrings is python/innkeeper/_core.pyi.

mod code;
mod control;
mod device;
mod disk;
mod doctor;
mod errors;
mod fd_raw;
mod fork_raw;
mod guest;
mod jail;
mod kernel;
mod memory;
mod migration;
mod network;
mod recording;
mod screen;
mod spec;
mod statistics;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Those that are forked from whoever has loaded this have it where it is.
    machine::begin_kin();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<guest::Machine>()?;
    module.add_class::<guest::Outcome>()?;
    module.add_class::<statistics::Statistics>()?;
    module.add_class::<statistics::VcpuStatistics>()?;
    module.add_class::<control::Control>()?;
    module.add_class::<memory::Memory>()?;
    module.add_class::<recording::Recording>()?;
    module.add_class::<migration::Migration>()?;
    module.add_class::<migration::Progress>()?;
    module.add_class::<migration::Incoming>()?;
    module.add_class::<migration::LateMemory>()?;
    module.add_function(wrap_pyfunction!(migration::processor, module)?)?;
    module.add_function(wrap_pyfunction!(migration::post_copy_missing, module)?)?;
    module.add_class::<screen::Screen>()?;
    module.add_class::<doctor::EngineReport>()?;
    module.add_class::<disk::OpenDisk>()?;
    module.add_class::<disk::DiskInfo>()?;
    module.add_class::<disk::DiskReport>()?;
    module.add_class::<disk::DiskSnapshot>()?;
    module.add("KERNEL_PROBE_LENGTH", kernel::PROBE_LEN)?;
    module.add_function(wrap_pyfunction!(kernel::is_multiboot, module)?)?;
    module.add_function(wrap_pyfunction!(code::seal_of_code, module)?)?;
    module.add_function(wrap_pyfunction!(code::is_code_of_kin, module)?)?;
    module.add_function(wrap_pyfunction!(jail::enter_jail, module)?)?;
    module.add_function(wrap_pyfunction!(jail::separate_children, module)?)?;
    module.add_function(wrap_pyfunction!(jail::adopt, module)?)?;
    module.add_function(wrap_pyfunction!(jail::end_with_parent, module)?)?;
    module.add_function(wrap_pyfunction!(jail::confine_program, module)?)?;
    module.add_function(wrap_pyfunction!(network::take_lease, module)?)?;
    module.add_function(wrap_pyfunction!(disk::nbd_connect, module)?)?;
    module.add_function(wrap_pyfunction!(disk::open_disk, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_serve, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_check, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_convert, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_create, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_files, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_info, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_resize, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_snapshot, module)?)?;
    module.add_function(wrap_pyfunction!(disk::disk_snapshots, module)?)?;
    module.add_function(wrap_pyfunction!(doctor::rehearse, module)?)?;
    module.add_function(wrap_pyfunction!(fork_raw::fork_first, module)?)?;
    module.add_function(wrap_pyfunction!(doctor::engines, module)?)
}
