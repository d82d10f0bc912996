//! What tests find out and docs/reliability.md says.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rootful_net_tests::installation::source_dir;

/// Fails unless a generated part of docs/reliability.md, between two comments with its title, is `text`. With
/// `UPDATE_EXPECT` set it is written instead.
pub(crate) fn ensure_documented(title: &str, text: &str) -> Result<()> {
    static FILE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = FILE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = source_dir().join("docs/reliability.md");
    let content = fs::read_to_string(&path)?;
    let (begin, end) = (format!("<!-- begin: {title} -->\n"), format!("<!-- end: {title} -->"));
    let (head, rest) = content.split_once(&begin).with_context(|| format!("no {begin}"))?;
    let (written, tail) = rest.split_once(&end).with_context(|| format!("no {end}"))?;
    if written == text {
        return Ok(());
    }
    ensure!(
        std::env::var_os("UPDATE_EXPECT").is_some(),
        "docs/reliability.md says of \"{title}\":\n{written}\nand it is:\n{text}\n\
         UPDATE_EXPECT=1 writes it"
    );
    Ok(fs::write(&path, [head, &begin, text, &end, tail].concat())?)
}

/// A table of places where the daemon was killed and what came of it.
pub(crate) fn crash_table(rows: &[(String, String)]) -> String {
    grouped("| step | killed | outcome |\n| --- | --- | --- |\n", rows)
}

/// A table of places where something failed, and what came of it where it failed once, and throughout.
pub(crate) fn failing_table(rows: &[(String, String)]) -> String {
    grouped("| step | failing | once | throughout |\n| --- | --- | --- | --- |\n", rows)
}

/// A row for the places of one scope that have the same outcome.
fn grouped(head: &str, rows: &[(String, String)]) -> String {
    let mut table: Vec<(String, Vec<&str>, &str)> = Vec::new();
    for (place, outcome) in rows {
        let (_, place) = place.split_once('/').unwrap_or(("", place));
        let (scopes, point) = place.rsplit_once('/').unwrap_or(("", place));
        match table.last_mut() {
            Some((last, points, same)) if last == scopes && same == outcome => points.push(point),
            Some(_) | None => table.push((scopes.to_owned(), vec![point], outcome)),
        }
    }
    let mut text = format!("\n{head}");
    for (scopes, points, outcome) in table {
        // The numbers count what is done in between, too.
        let names = scopes.split('/').map(|scope| {
            scope.trim_start_matches(|digit: char| digit.is_ascii_digit()).trim_start()
        });
        let scope = names.collect::<Vec<_>>().join(": ");
        text.push_str(&format!("| {scope} | {} | {outcome} |\n", points.join(", ")));
    }
    text.push('\n');
    text
}
