//! Private network and mount namespaces for one test, held by the test's thread and whatever it starts.

use anyhow::Context as _;
use rustix::thread::UnshareFlags;

/// Proof that the current thread is in namespaces of its own.
#[derive(Debug)]
pub struct Sandbox {
    // Neither Send nor Sync: the proof holds for one thread.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Sandbox {
    /// Moves the current thread, and what it starts from now on, into a new network and mount namespace.
    /// The loopback interface is up; `/sys` shows the new network.
    ///
    /// # Errors
    /// Where the caller is not root.
    pub fn enter() -> anyhow::Result<Self> {
        // NEWNS needs a file system context of the thread's own, and implies it.
        let flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS;
        #[expect(unsafe_code, reason = "rustix marks unshare unsafe for the sake of CLONE_FILES")]
        // SAFETY: neither flag changes what other threads of this process share with this one: the
        // file descriptor table stays shared.
        let unshared = unsafe { rustix::thread::unshare_unsafe(flags) };
        unshared.context("unshare")?;
        let private = rustix::mount::MountPropagationFlags::PRIVATE
            | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).context("make mounts private")?;
        rustix::mount::mount("sysfs", "/sys", "sysfs", rustix::mount::MountFlags::empty(), None)
            .context("mount /sys")?;
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        anyhow::ensure!(up.success(), "ip link set lo up: {up}");
        Ok(Self { _thread: std::marker::PhantomData })
    }
}
