//! What two hosts have in common on which the same is attached, whatever happened before.

use anyhow::{Context as _, Result};
use rootful_net_tests::footprint::Footprint;

/// Without what is by chance, the MAC addresses of the host's ends of pairs, and what depends on the order in which
/// things happened: which table was made first, names that were taken, and leases by age.
pub(super) fn comparable(mut footprint: Footprint) -> Result<Footprint> {
    for (_, link) in footprint.links.iter_mut().filter(|(name, _)| name.starts_with("rn")) {
        let (rest, _) = link.rsplit_once(" \"").context("a link without a MAC address")?;
        *link = rest.to_owned();
    }
    let mut tables: Vec<_> = footprint.ruleset.split_inclusive("\n}\n").collect();
    tables.sort_unstable();
    footprint.ruleset = tables.concat();
    for record in footprint.records.values_mut() {
        let (content, _) = record.rsplit_once("\nsha256:").context("a record is not sealed")?;
        let mut value = serde_json::from_str(content)?;
        forget_names(&mut value);
        *record = serde_json::to_string_pretty(&value)?;
    }
    let leases: serde_json::Value = match footprint.leases.as_str() {
        "" => serde_json::Value::Array(Vec::new()),
        leases => serde_json::from_str(leases)?,
    };
    let mut leases: Vec<_> =
        leases.as_array().context("a list")?.iter().map(ToString::to_string).collect();
    leases.sort_unstable();
    footprint.leases = leases.join("\n");
    Ok(footprint)
}

fn forget_names(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.remove("names");
            fields.values_mut().for_each(forget_names);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(forget_names),
        _ => {}
    }
}
