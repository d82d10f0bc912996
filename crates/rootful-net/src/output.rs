//! How results look: tables for people, JSON for programs, and text from outside made safe for a terminal.

use std::error::Error;
use std::io::{self, Write as _};

use rootful_net_client::message::chain;
pub(crate) use rootful_net_client::message::printable;
use serde::Serialize;

/// Two blanks between columns, as podman does it.
const GAP: usize = 2;

/// Says on stderr why the command failed.
pub(crate) fn error(error: &dyn Error) {
    say("Error", error);
}

/// Says on stderr what did not succeed although the command did.
pub(crate) fn warning(error: &dyn Error) {
    say("Warning", error);
}

fn say(what: &str, error: &dyn Error) {
    let message = printable(&chain(error));
    // Where even stderr is gone, the exit code is all there is to say.
    let _ = writeln!(io::stderr(), "{what}: {message}");
}

/// A table with left-aligned columns and a line for each row.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(&header)
        .chain(rows)
        .map(|row| row.each_ref().map(|cell| printable(cell)))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default() + GAP);
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<String>().trim_end());
        out.push('\n');
    }
    out
}

/// `value` as indented JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    let mut text =
        serde_json::to_string_pretty(value).expect("structs of text and numbers are always JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_trail() {
        let rows = [
            ["web".to_owned(), "rootful0".to_owned(), String::new()],
            ["größer".to_owned(), "a".to_owned(), "80".to_owned()],
            ["e\u{1b}".to_owned(), "b".to_owned(), "81".to_owned()],
        ];
        let expected = "\
NAME     NETWORK   PORT
web      rootful0
größer   a         80
e\\u{1b}  b         81
";
        assert_eq!(table(["NAME", "NETWORK", "PORT"], &rows), expected);
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        assert_eq!(table(["NAME", "PORT"], &[]), "NAME  PORT\n");
    }
}
