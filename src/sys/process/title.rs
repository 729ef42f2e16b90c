//! What `ps` and `top` call this process.

use std::ffi::CString;
use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::unistd::SysconfVar;

use super::facts::{configured, stat_field, thread_count};

/// Names this process: its command line in `ps` becomes `title`, its short name in `top` the first
/// 15 bytes of it.
///
/// Best effort, as nothing depends on it: the command line needs a kernel built with
/// `CONFIG_CHECKPOINT_RESTORE`, as distributions build theirs, and a first call from before the
/// first thread. Later calls, also in children of [`fork`](super::fork), may come at any time.
/// Neither `std::env::args` nor the environment is touched.
pub fn set_title(title: &str) {
    let title = title.split('\0').next().unwrap_or_default();
    if let Ok(name) = CString::new(start_of(title, 15)) {
        let _ = nix::sys::prctl::set_name(&name);
    }
    static AREA: OnceLock<Option<&[AtomicU8]>> = OnceLock::new();
    if let Some(area) = AREA.get_or_init(|| install().ok()) {
        write(area, title);
    }
}

/// Writes `title` and a NUL byte into `area`, leaving at least its last byte alone.
fn write(area: &[AtomicU8], title: &str) {
    let bytes = start_of(title, area.len() - 2).bytes().chain([0]);
    for (place, byte) in area.iter().zip(bytes) {
        place.store(byte, Ordering::Relaxed);
    }
}

/// At most `length` bytes of `text`, in whole characters.
fn start_of(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Makes a page of memory the place where the kernel finds this process's command line.
///
/// Overwriting the arguments where they are would leave room for no more than there was, and
/// `std::env::args` reads them. So the kernel is told of another place. The last byte of that is
/// not NUL, which means to the kernel that a title stands there, which ends at its first NUL.
#[allow(unsafe_code)]
fn install() -> io::Result<&'static [AtomicU8]> {
    // The map names the end of the heap. Another thread could move it meanwhile.
    if thread_count()? != 1 {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    let length = configured(SysconfVar::PAGE_SIZE)? as usize;
    // SAFETY: asks for fresh memory at an address of the kernel's choice, used by nobody else.
    let page = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0)
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `page` is `length` readable, writable, zeroed bytes, which are never unmapped.
    let area = unsafe { std::slice::from_raw_parts(page.cast::<AtomicU8>(), length) };
    area[length - 1].store(1, Ordering::Relaxed);
    write(area, &command_line()?);
    map_with_arguments(page as u64, length as u64)?.apply()?;
    Ok(area)
}

/// The command line as it was, for the moment until the title is written.
fn command_line() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/self/cmdline")?
        .trim_end_matches('\0')
        .replace('\0', " "))
}

/// The kernel's `prctl_mm_map`: where the parts of this process's memory are.
#[repr(C)]
struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: *const u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// This process's map as it is, but with its arguments at `start`.
#[allow(unsafe_code)]
fn map_with_arguments(start: u64, length: u64) -> io::Result<MemoryMap> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let field = |number| stat_field(&stat, number);
    Ok(MemoryMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        // SAFETY: asked for an impossible end of the heap, the kernel answers where it is.
        brk: unsafe { libc::syscall(libc::SYS_brk, 0) } as u64,
        start_stack: field(28)?,
        arg_start: start,
        arg_end: start + length,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: ptr::null(),
        auxv_size: 0,
        exe_fd: u32::MAX, // as it is
    })
}

impl MemoryMap {
    #[allow(unsafe_code)]
    fn apply(&self) -> io::Result<()> {
        let (map, size) = (ptr::from_ref(self), size_of::<Self>());
        // SAFETY: the kernel reads one map of this size, and refuses addresses that make no sense.
        // Nothing between reading and applying it moved the heap: this is the only thread, and it
        // did not allocate.
        let result =
            unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, map, size, 0_usize) };
        nix::Error::result(result)?;
        Ok(())
    }
}
