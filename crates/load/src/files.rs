//! Files as they are read: regular ones only, so that nothing waits for a pipe, and texts only up
//! to a size.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Error, bail};

/// The most bytes of a JSON file.
pub const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Reads a text.
///
/// # Errors
///
/// If `path` is no regular file, cannot be read, is larger than [`TEXT_BYTES_MAX`], or is not
/// UTF-8. The message names it.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let name = path.display();
    let cannot_read = || format!("cannot read {name}");
    let mut bytes = Vec::new();
    let file = open_regular(path).map_err(plain).with_context(cannot_read)?;
    let read = file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes);
    let found = read.map_err(plain).with_context(cannot_read)?;
    if found as u64 > TEXT_BYTES_MAX {
        bail!(
            "{name}: more than {TEXT_BYTES_MAX} bytes, which is the most that a JSON file may have"
        );
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = valid.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
        anyhow::anyhow!("{name}:{line}:{column}: not UTF-8 text, expected JSON")
    })
}

/// Opens a data file for `DataSpec::load`.
///
/// # Errors
///
/// If it does not exist, is no regular file, or cannot be opened.
pub fn open_data(name: &str) -> io::Result<Box<dyn Read>> {
    Ok(Box::new(BufReader::new(open_regular(Path::new(name))?)))
}

/// Opens a file that is neither folder nor device nor pipe.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, expected a file"));
    }
    if !kind.is_file() {
        let problem = "it is a device or a pipe, expected a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    File::open(path)
}

/// The commonest reasons in the words of everyone.
fn plain(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!("no such file"),
        io::ErrorKind::PermissionDenied => anyhow::anyhow!("permission denied"),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(path: &Path) -> String {
        format!("{:#}", read_text(path).unwrap_err())
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        assert!(message(&path).ends_with("x.json: no such file"));
        assert!(message(folder.path()).ends_with("it is a folder, expected a file"));
        fs::write(&path, b"{\n \"a\xff\"}").unwrap();
        assert!(message(&path).ends_with("x.json:2:4: not UTF-8 text, expected JSON"));
        File::create(&path).unwrap().set_len(TEXT_BYTES_MAX + 1).unwrap();
        assert!(message(&path).contains("x.json: more than 16777216 bytes"));
        File::create(&path).unwrap().set_len(TEXT_BYTES_MAX).unwrap();
        assert_eq!(read_text(&path).unwrap().len() as u64, TEXT_BYTES_MAX);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_refused_before_they_are_read() {
        assert!(message(Path::new("/dev/zero")).ends_with("expected a regular file"));
        assert!(open_data("/dev/zero").is_err());
    }
}
