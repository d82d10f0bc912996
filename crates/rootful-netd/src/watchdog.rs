//! The service manager's watchdog: fed by the engine, so that an engine that hangs is noticed, ended and started again.

use sd_notify::NotifyState;

/// Tells the service manager that changes are being made; nothing where it does not ask (`WatchdogSec=`).
pub(crate) fn feed() {
    if sd_notify::watchdog_enabled().is_some() {
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}
