//! Who users are outside of the user namespace that the client runs in: in podman's, where the hook runs, its
//! user is root.

use rustix::process::geteuid;

/// The own uid as the bus sees it; nothing where it cannot be told, and the own uid will do.
pub fn own_outer_uid() -> Option<u32> {
    outer_uid(geteuid().as_raw())
}

/// A uid as the bus sees it; nothing where nobody outside has it or it cannot be told.
///
/// `/proc/self/uid_map` gives the uids of the parent namespace, user_namespaces(7). That is the bus's own unless
/// podman itself runs in a user namespace of somebody else's making.
pub fn outer_uid(uid: u32) -> Option<u32> {
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    mapped(&map, uid)
}

fn mapped(map: &str, uid: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(|field| field.parse::<u32>().ok());
        let (inside, outside, count) = (fields.next()??, fields.next()??, fields.next()??);
        let offset = uid.checked_sub(inside)?;
        (offset < count).then(|| outside.checked_add(offset))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_says_who_the_user_is_outside() {
        let initial = "         0          0 4294967295\n";
        let podman = "         0       1000          1\n         1     100000      65536\n";
        let keep_id = "0 1 1000\n1000 0 1\n1001 1001 64536\n";
        let cases = [
            (initial, 0, Some(0)),
            (initial, 1000, Some(1000)),
            (podman, 0, Some(1000)),
            (podman, 1, Some(100_000)),
            (podman, 65_536, Some(165_535)),
            (podman, 65_537, None),
            (keep_id, 1000, Some(0)),
            (keep_id, 999, Some(1000)),
            ("", 0, None),
            ("0 1000\n", 0, None),
            ("0 x 1\n0 7 1\n", 0, Some(7)),
            ("0 4294967295 2\n", 1, None),
        ];
        for (map, uid, expected) in cases {
            assert_eq!(mapped(map, uid), expected, "{uid} in {map}");
        }
    }
}
