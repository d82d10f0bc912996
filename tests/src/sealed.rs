//! The service's sealed files, written and read without its help: content, a line break, and the line
//! `sha256:HEX` with the checksum of what is before it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::namespace::run;

/// The content of a sealed file.
///
/// # Errors
/// Where it cannot be read, or is not sealed.
pub fn read(path: impl AsRef<Path>) -> anyhow::Result<String> {
    let path = path.as_ref();
    let sealed = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (content, _) = sealed.rsplit_once("\nsha256:").context("no checksum")?;
    let own = tempfile::NamedTempFile::new()?;
    write(own.path(), content)?;
    let expected = fs::read_to_string(own.path())?;
    anyhow::ensure!(sealed == expected, "{} has a wrong checksum: {sealed}", path.display());
    Ok(content.to_owned())
}

/// Writes a sealed file with this content.
///
/// # Errors
/// Where it cannot be written.
pub fn write(path: impl AsRef<Path>, content: &str) -> anyhow::Result<()> {
    let path = path.as_ref();
    fs::write(path, format!("{content}\n"))?;
    let printed = run(&format!("sha256sum {}", path.display()))?;
    let checksum = printed.split_whitespace().next().context("sha256sum prints nothing")?;
    Ok(writeln!(File::options().append(true).open(path)?, "sha256:{checksum}")?)
}
