//! Reading: plain or gzip, by the first bytes, with errors that name the file.

use std::io::{self, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

use crate::Error;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// The bytes of a file, decompressed where it is gzip.
pub(super) struct Input<'a, R: Read> {
    file: &'a str,
    source: InputSource<R>,
}

enum InputSource<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<Whole<R>>>),
}

impl<'a, R: Read> Input<'a, R> {
    /// Looks at the first two bytes of `reader`, which reads the file called `file`.
    pub(super) fn new(file: &'a str, mut reader: R) -> Result<Self, Error> {
        let mut start = Vec::new();
        let read = reader.by_ref().take(2).read_to_end(&mut start);
        read.map_err(|source| Error::Read { file: file.to_owned(), source })?;
        let gzip = start == GZIP_MAGIC;
        let whole = Cursor::new(start).chain(reader);
        let source = match gzip {
            true => InputSource::Gzip(Box::new(MultiGzDecoder::new(whole))),
            false => InputSource::Plain(whole),
        };
        Ok(Self { file, source })
    }

    /// Up to `count` bytes: fewer only at the end. Memory grows with what is read, not with what
    /// was asked for.
    pub(super) fn up_to(&mut self, count: u64) -> Result<Vec<u8>, Error> {
        const AT_ONCE: u64 = 1 << 26;
        let mut bytes = Vec::with_capacity(count.min(AT_ONCE) as usize);
        let read = match &mut self.source {
            InputSource::Plain(plain) => plain.take(count).read_to_end(&mut bytes),
            InputSource::Gzip(gzip) => gzip.take(count).read_to_end(&mut bytes),
        };
        match read {
            Ok(_) => Ok(bytes),
            Err(source) => Err(self.error(source)),
        }
    }

    fn error(&self, source: io::Error) -> Error {
        let file = self.file.to_owned();
        // What the file system or the caller's reader says has a kind of its own; these are the
        // decoder's.
        let decoder = [io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData];
        match &self.source {
            InputSource::Gzip(_)
                if decoder.contains(&source.kind())
                    || source.kind() == io::ErrorKind::UnexpectedEof =>
            {
                Error::Gzip { file, source }
            }
            _ => Error::Read { file, source },
        }
    }
}
