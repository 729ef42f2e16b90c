//! A process that leaves its terminal, or the rights it was started with.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{self, Gid, Group, Uid, User};

use super::{Fork, exit_now, fork, new_session};

/// Goes on in the background, in a session of its own and without a terminal; who has started it gets the prompt back.
/// The standard files are `/dev/null` from then on.
///
/// # Errors
/// When the kernel refuses one of the steps, or this process has several threads.
pub fn detach() -> io::Result<()> {
    if let Fork::Parent(_) = fork()? {
        exit_now(0);
    }
    new_session()?;
    // One that leads no session never gets a terminal by opening one.
    if let Fork::Parent(_) = fork()? {
        exit_now(0);
    }
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    unistd::dup2_stdin(&null)?;
    unistd::dup2_stdout(&null)?;
    unistd::dup2_stderr(&null)?;
    Ok(())
}

/// Becomes a user and a group, by name or number; without a group the user's own. The rights that are given up cannot
/// be had again.
///
/// # Errors
/// When there is no such user or group, this process may not change to it, or could change back.
pub fn become_user(user: Option<&str>, group: Option<&str>) -> io::Result<()> {
    let user = user.map(find_user).transpose()?;
    let group = match group {
        Some(group) => Some(find_group(group)?),
        None => user.as_ref().map(|user| user.gid),
    };
    if let Some(group) = group {
        unistd::setgid(group)?;
    }
    let Some(user) = user else {
        return Ok(());
    };
    if Uid::effective().is_root() {
        let name = CString::new(user.name.as_str())?;
        unistd::initgroups(&name, group.unwrap_or(user.gid))?;
    }
    unistd::setuid(user.uid)?;
    if !user.uid.is_root() && unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("the rights of root could be had again"));
    }
    Ok(())
}

/// The user and the group that this process belongs to.
pub fn user() -> (u32, u32) {
    (unistd::getuid().as_raw(), unistd::getgid().as_raw())
}

/// The permissions that new files do not get (`umask`).
pub fn set_umask(mask: u32) {
    umask(Mode::from_bits_truncate(mask));
}

fn find_user(name: &str) -> io::Result<User> {
    let found = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    found?.ok_or_else(|| io::Error::other(format!("there is no user {name}")))
}

fn find_group(name: &str) -> io::Result<Gid> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name)?;
    found
        .map(|group| group.gid)
        .ok_or_else(|| io::Error::other(format!("there is no group {name}")))
}
